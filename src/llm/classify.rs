//! From an error answer to its kind. Servers agree neither on shapes nor on codes; words decide.

use serde_json::Value;

use super::{
    fault::{Fault, Kind},
    quirks::Field,
};
use crate::job::mask_secrets;

/// Longest part of a server's message that is repeated to people.
const MESSAGE_CHARS: usize = 300;

/// What an error body says, whatever its shape.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ErrorBody {
    /// `code`, `type` and `param`, in lower case, separated by spaces.
    tags: String,
    /// The message in words, as it came.
    message: String,
    /// A `code` or `status` that is an HTTP status.
    status: Option<u16>,
}

impl ErrorBody {
    /// Reads the text of an error answer.
    pub(super) fn read(text: &str) -> Self {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => Self::of(&value),
            Err(_) if looks_like_html(text) => Self { message: "an HTML page".into(), ..Self::default() },
            Err(_) => Self { message: text.trim().to_owned(), ..Self::default() },
        }
    }

    /// `{"error":{…}}`, `{"error":"text"}`, `{"detail":…}`, `{"message":…}`, `[{"error":…}]`, `"text"`.
    pub(super) fn of(value: &Value) -> Self {
        let mut body = Self::default();
        body.collect(value, 0);
        body
    }

    fn collect(&mut self, value: &Value, depth: usize) {
        match value {
            Value::String(text) if self.message.is_empty() => text.clone_into(&mut self.message),
            Value::Array(items) => {
                if let Some(first) = items.first() {
                    self.collect(first, depth + 1);
                }
            }
            Value::Object(members) if depth < 6 => {
                for key in ["code", "type", "status", "param"] {
                    self.tag(members.get(key));
                }
                if let Some(Value::Array(path)) = members.get("loc") {
                    path.iter().for_each(|part| self.tag(Some(part)));
                }
                for key in ["error", "message", "msg", "detail", "errors"] {
                    if let Some(inner) = members.get(key) {
                        self.collect(inner, depth + 1);
                    }
                }
            }
            _ => {}
        }
    }

    fn tag(&mut self, value: Option<&Value>) {
        let text = match value {
            Some(Value::String(text)) => text.to_ascii_lowercase(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return,
        };
        if let Ok(status) = text.parse::<u16>()
            && (400..600).contains(&status)
        {
            self.status.get_or_insert(status);
        }
        self.tags.push_str(&text);
        self.tags.push(' ');
    }
}

fn looks_like_html(text: &str) -> bool {
    let start: String = text.trim_start().chars().take(9).collect::<String>().to_ascii_lowercase();
    start.starts_with("<!doctype") || start.starts_with("<html")
}

/// Words in code, type or message, and the kind they mean, the most telling first.
const WORDS: &[(Kind, &[&str])] = &[
    (
        Kind::Quota,
        &[
            "insufficient_quota",
            "billing_hard_limit",
            "billing_not_active",
            "exceeded your current quota",
            "insufficient balance",
            "insufficient_balance",
            "insufficient credits",
            "credit balance is too low",
            "payment required",
        ],
    ),
    (
        Kind::ContextTooLong,
        &[
            "context_length_exceeded",
            "string_above_max_length",
            "maximum context length",
            "context length exceeded",
            "exceeds the context",
            "exceed context",
            "exceeds the available context",
            "context window",
            "prompt is too long",
            "input is too long",
            "input token count",
            "reduce the length",
        ],
    ),
    (
        Kind::Refused,
        &["content_filter", "content_policy", "content management policy", "responsibleaipolicy", "safety system"],
    ),
    (Kind::Auth, &["invalid_api_key", "incorrect api key", "invalid api key", "api key not valid", "unauthenticated"]),
    (Kind::Misconfigured, &["model_not_found", "model not found", "does not exist or you do not have access"]),
    (Kind::RateLimited, &["rate_limit", "rate limit", "too many requests", "resource_exhausted", "throttl"]),
    (Kind::Unavailable, &["overloaded", "server_error", "internal_error", "loading model", "temporarily unavailable"]),
];

/// What a status means where the words say nothing.
fn by_status(status: u16) -> Kind {
    match status {
        401 | 403 | 407 => Kind::Auth,
        402 => Kind::Quota,
        413 => Kind::ContextTooLong,
        429 => Kind::RateLimited,
        300..=399 | 404 | 405 | 410 => Kind::Misconfigured,
        408 | 409 | 425 | 500..=599 => Kind::Unavailable,
        400..=499 => Kind::Refused,
        // An error inside an answer that began well.
        _ => Kind::Unavailable,
    }
}

/// Decides on an error answer. `status` is the answer's, 200 for an error inside a stream.
pub(super) fn classify(status: u16, body: &ErrorBody, model: &str, host: &str) -> Fault {
    let status = if status < 300 { body.status.unwrap_or(status) } else { status };
    let message = body.message.to_ascii_lowercase();
    let by_words = WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| body.tags.contains(word) || message.contains(word)))
        .map(|(kind, _)| *kind);
    let kind = match (status, by_words) {
        // A server's own fault stays one, whatever its text mentions; only money and length are told apart.
        (500..=599, Some(kind @ (Kind::Quota | Kind::ContextTooLong | Kind::RateLimited))) => kind,
        (400 | 422 | 500 | 501, None) if let Some(field) = refused_field(status, &body.tags, &message) => {
            Kind::FieldRefused(field)
        }
        (500..=599, _) => Kind::Unavailable,
        (401 | 402, None | Some(Kind::RateLimited | Kind::Unavailable)) => by_status(status),
        // "server_error" beside a refusal means little.
        (400..=499, Some(Kind::Unavailable)) if status != 429 => by_status(status),
        (_, Some(kind)) => kind,
        (_, None) => by_status(status),
    };
    Fault::new(kind, explain(kind, status, body, model, host))
}

/// The field that an error names, where it says that the field is the trouble.
fn refused_field(status: u16, tags: &str, message: &str) -> Option<Field> {
    #[rustfmt::skip]
    const COMPLAINTS: &[&str] = &[
        "support", "not implemented", "unrecognized", "unknown", "unexpected", "not permitted", "not allowed", "extra", "invalid",
        "not available", "forbidden", "only the default", "cannot be", "can't", "must be", "must contain", "should be", "no longer",
    ];
    // A server that fails says many things; only these two are about the request.
    let complaints = if status >= 500 { &COMPLAINTS[..2] } else { COMPLAINTS };
    let complains = complaints.iter().any(|word| message.contains(word) || tags.contains(word));
    if !complains {
        return None;
    }
    // A complaint about a schema is about strictness first: a lax server takes any schema.
    if tags.contains("invalid_function_parameters") || message.contains("invalid schema for") {
        return Some(Field::Strict);
    }
    // The parameter that is complained about stands before the one that is recommended instead.
    let named = |text: &str| {
        Field::NAMES
            .iter()
            .filter_map(|(name, field)| Some((find_word(text, name)?, *field)))
            .min_by_key(|(at, _)| *at)
            .map(|(_, field)| field)
    };
    named(tags).or_else(|| named(message))
}

/// Where `word` stands in `text` with no letter, digit or underscore at either side.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).find(|at| {
        !text[..*at].chars().next_back().is_some_and(part) && !text[at + word.len()..].chars().next().is_some_and(part)
    })
}

fn explain(kind: Kind, status: u16, body: &ErrorBody, model: &str, host: &str) -> String {
    let said = match body.message.trim() {
        "" => String::new(),
        // A server may repeat the headers of the request.
        text => format!(": {}", mask_secrets(&text.chars().take(MESSAGE_CHARS).collect::<String>())),
    };
    let at = if status < 300 { format!("{host} failed while answering") } else { format!("{host} answered {status}") };
    match kind {
        // What servers say about keys repeats the key.
        Kind::Auth => format!("{at}: the key is missing, wrong or may not use {model}; check llm.api_key"),
        Kind::Quota => format!("{at}, the account's quota is used up{said}; add credit or use another key"),
        Kind::RateLimited => {
            format!("{at}, too many requests or tokens{said}; try later or set llm.requests_per_minute")
        }
        Kind::ContextTooLong => {
            format!(
                "{at}, the request is longer than {model} takes{said}; shorten the prompt, workflow or conversation"
            )
        }
        Kind::Misconfigured => format!("{at}{said}; check llm.base_url and that it serves the model {model}"),
        Kind::Refused => format!("{at}, it refuses the request{said}"),
        Kind::FieldRefused(field) => format!("{at}, it refuses the field {}{said}", field.as_str()),
        _ => format!("{at}{said}"),
    }
}
