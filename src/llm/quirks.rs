//! What a model's server was found not to take: the field is left out from then on.

use std::collections::HashMap;

use parking_lot::Mutex;

/// A field of the request that servers were seen to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Field {
    MaxTokens,
    MaxCompletionTokens,
    Temperature,
    ToolChoice,
    Strict,
    ResponseFormat,
    StreamOptions,
    PromptCacheKey,
    Stream,
}

impl Field {
    /// Every field with the words that name it in an error, the most specific first.
    pub(super) const NAMES: &[(&'static str, Self)] = &[
        ("max_completion_tokens", Self::MaxCompletionTokens),
        ("max_tokens", Self::MaxTokens),
        ("temperature", Self::Temperature),
        ("tool_choice", Self::ToolChoice),
        ("response_format", Self::ResponseFormat),
        ("json_schema", Self::ResponseFormat),
        ("stream_options", Self::StreamOptions),
        ("include_usage", Self::StreamOptions),
        ("prompt_cache_key", Self::PromptCacheKey),
        ("strict", Self::Strict),
        ("streaming", Self::Stream),
        ("stream", Self::Stream),
    ];

    /// The name on the wire.
    pub(super) fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }
}

/// How structured output is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Format {
    /// By schema.
    #[default]
    Schema,
    /// Only as "some JSON object".
    Object,
    /// Not at all.
    Plain,
}

/// Which field bounds the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    MaxTokens,
    MaxCompletionTokens,
    Nothing,
}

/// What one model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quirks {
    pub(super) bound: Bound,
    /// The other bound was already tried.
    bound_switched: bool,
    pub(super) format: Format,
    pub(super) temperature: bool,
    pub(super) tool_choice: bool,
    pub(super) strict: bool,
    pub(super) stream: bool,
    pub(super) stream_options: bool,
    pub(super) prompt_cache_key: bool,
}

impl Quirks {
    /// What is assumed before a server objects.
    pub(super) fn new(bound: Bound, stream: bool) -> Self {
        Self {
            bound,
            bound_switched: false,
            format: Format::Schema,
            temperature: true,
            tool_choice: true,
            strict: true,
            stream,
            stream_options: true,
            prompt_cache_key: true,
        }
    }

    /// Leaves `field` out from now on. False where nothing changes, so that sending again would not help.
    fn drop(&mut self, field: Field) -> bool {
        let before = *self;
        match field {
            Field::MaxTokens | Field::MaxCompletionTokens => {
                self.bound = match self.bound {
                    _ if self.bound_switched => Bound::Nothing,
                    Bound::MaxTokens => Bound::MaxCompletionTokens,
                    Bound::MaxCompletionTokens => Bound::MaxTokens,
                    Bound::Nothing => Bound::Nothing,
                };
                self.bound_switched = true;
            }
            Field::Strict if self.strict => self.strict = false,
            // A schema that is refused even without strictness is asked for in another way.
            Field::ResponseFormat | Field::Strict => {
                self.format = match self.format {
                    Format::Schema => Format::Object,
                    Format::Object | Format::Plain => Format::Plain,
                };
            }
            Field::Temperature => self.temperature = false,
            Field::ToolChoice => self.tool_choice = false,
            Field::Stream => self.stream = false,
            Field::StreamOptions => self.stream_options = false,
            Field::PromptCacheKey => self.prompt_cache_key = false,
        }
        *self != before
    }
}

/// Models remembered per endpoint: more than any configuration names.
const MAX_MODELS: usize = 256;

/// The memory of one endpoint.
#[derive(Debug)]
pub(super) struct Memory {
    start: Quirks,
    models: Mutex<HashMap<String, Quirks>>,
}

impl Memory {
    pub(super) fn new(start: Quirks) -> Self {
        Self { start, models: Mutex::default() }
    }

    /// What `model` takes, as far as is known.
    pub(super) fn of(&self, model: &str) -> Quirks {
        self.models.lock().get(model).copied().unwrap_or(self.start)
    }

    /// Remembers that `model`, asked in the manner `sent`, refused `field`. False where there is nothing left
    /// to drop. Where another call has learned it meanwhile the answer is true: the request can be sent again.
    pub(super) fn learn(&self, model: &str, sent: Quirks, field: Field) -> bool {
        let mut models = self.models.lock();
        let known = models.get(model).copied().unwrap_or(self.start);
        if known != sent {
            return true;
        }
        let mut quirks = sent;
        if !quirks.drop(field) {
            return false;
        }
        if models.len() >= MAX_MODELS && !models.contains_key(model) {
            models.clear();
        }
        models.insert(model.to_owned(), quirks);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_dropped_once_and_then_there_is_nothing_left_to_drop() {
        let memory = Memory::new(Quirks::new(Bound::MaxTokens, true));
        let mut drops = 0;
        for (_, field) in Field::NAMES.iter().cycle().take(100) {
            drops += usize::from(memory.learn("m", memory.of("m"), *field));
        }
        let quirks = memory.of("m");
        assert_eq!((quirks.bound, quirks.format), (Bound::Nothing, Format::Plain));
        assert!(!quirks.temperature && !quirks.stream && !quirks.strict && !quirks.stream_options);
        assert_eq!(drops, 10, "one per field, two for the bound and two for the format");
        assert_eq!(memory.of("other"), Quirks::new(Bound::MaxTokens, true));
    }

    #[test]
    fn what_another_call_learned_meanwhile_is_reason_enough_to_send_again() {
        let memory = Memory::new(Quirks::new(Bound::MaxTokens, true));
        let sent = memory.of("m");
        assert!(memory.learn("m", sent, Field::Temperature));
        assert!(memory.learn("m", sent, Field::Temperature));
        assert!(!memory.learn("m", memory.of("m"), Field::Temperature));
    }
}
