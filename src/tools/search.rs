//! `search_tools`: finds what an agent may use, by words.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Tool, ToolBounds, ToolContext, ToolEnd, ToolOutput};
use crate::{
    embed::{Embedder, Lexical, Profile, Question},
    job::{ErrorCode, Job, JobError, Lane, Preview, RawJson},
    llm::ToolSpec,
};

const NAME: &str = "search_tools";
/// Hits where the call does not say how many, and at most.
const USUAL: usize = 5;
const MOST: usize = 25;
/// Tools that are compared.
const MAX_TOOLS: usize = 10_000;
/// Characters of a query that are read.
const MAX_QUERY_CHARS: usize = 1000;

/// Something that can be found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolHit {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// `built_in`, `mcp`, `openapi`, `pipeline`, or what another source says.
    pub kind: String,
    /// How it is called: the tool, and what is known of its arguments.
    pub call: Value,
}

/// Where tools are found.
#[async_trait]
pub trait SearchSource: Send + Sync {
    /// The tool that its hits are called with; who does not have that one is not told of them.
    fn called_with(&self) -> Option<&str> {
        None
    }

    /// Everything that `job` may use, in an order that does not change by itself.
    ///
    /// # Errors
    /// That it cannot be read now, in a sentence.
    async fn tools(&self, job: &Job) -> Result<Vec<ToolHit>, String>;

    /// Where words of strangers among them come from; nothing where there are none.
    fn outside(&self, job: &Job) -> Option<String> {
        let _ = job;
        None
    }
}

/// The tools that an agent is offered as they are.
pub struct Offered(Vec<ToolHit>);

impl Offered {
    /// Those of these specs.
    pub fn new<'a>(specs: impl Iterator<Item = &'a ToolSpec>) -> Self {
        let hits = specs.filter(|spec| spec.name != NAME).map(|spec| ToolHit {
            name: spec.name.clone(),
            description: spec.description.clone(),
            kind: if spec.name.contains("__") { "mcp".into() } else { "built_in".into() },
            call: json!({"tool": spec.name}),
        });
        Self(hits.collect())
    }
}

#[async_trait]
impl SearchSource for Offered {
    async fn tools(&self, _: &Job) -> Result<Vec<ToolHit>, String> {
        Ok(self.0.clone())
    }
}

/// The tool. Made for one run, with what that run may use.
pub struct FindTools {
    spec: ToolSpec,
    sources: Vec<Arc<dyn SearchSource>>,
}

impl FindTools {
    /// A search over these sources.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn SearchSource>>) -> Self {
        Self { spec: spec(), sources }
    }

    /// The best hits for `query`, best first; ties in the order of the sources. A hit shares something with the query.
    /// Also what is to be said about it.
    async fn best(&self, query: &str, limit: usize, job: &Job) -> Result<(Vec<ToolHit>, Vec<String>), JobError> {
        let (mut hits, mut warnings) = (Vec::new(), Vec::new());
        for source in &self.sources {
            match source.tools(job).await {
                Ok(found) => hits.extend(found),
                Err(why) => warnings.push(why),
            }
        }
        hits.truncate(MAX_TOOLS);
        let spaced = |name: &str| name.replace(['_', '-', '.', '/'], " ");
        let profiles: Vec<Profile> = hits
            .iter()
            .map(|hit| Profile {
                name: spaced(&hit.name),
                description: format!("{}. {}", spaced(&hit.name), hit.description),
                ..Profile::default()
            })
            .collect();
        let scores = Lexical.fit(&profiles).await?.scores(&Question::of_words(query), None);
        let mut ranked: Vec<(usize, f64)> = scores.into_iter().filter(|(_, score)| *score > 0.0).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.truncate(limit);
        let best = ranked.into_iter().map(|(i, _)| std::mem::replace(&mut hits[i], empty()));
        Ok((best.collect(), warnings))
    }
}

fn empty() -> ToolHit {
    ToolHit { name: String::new(), description: String::new(), kind: String::new(), call: Value::Null }
}

#[async_trait]
impl Tool for FindTools {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn bounds(&self) -> ToolBounds {
        ToolBounds { result_bytes: 32 << 10, ..ToolBounds::default() }
    }

    fn only_reads(&self, _: &RawJson) -> bool {
        true
    }

    fn outside(&self, _: &RawJson, context: &ToolContext<'_>) -> Option<String> {
        self.sources.iter().find_map(|source| source.outside(context.job))
    }

    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        #[derive(Deserialize)]
        struct Arguments {
            query: String,
            limit: Option<f64>,
        }
        let bad = |why: String| JobError::new(ErrorCode::LlmBadOutput, why).with_retryable(false).with_tool(NAME);
        let Arguments { query, limit } =
            arguments.read().map_err(|error| bad(format!("the arguments must be {{query, limit?}}: {error}")))?;
        let query: String = query.chars().take(MAX_QUERY_CHARS).collect();
        if query.trim().is_empty() {
            return Err(bad("query is empty: say in a few words what the tool shall do".into()));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1 and the most")]
        let limit = limit.map_or(USUAL, |limit| limit.clamp(1.0, MOST as f64) as usize);
        let (best, warnings) = self.best(&query, limit, context.job).await?;
        let summary = if best.is_empty() {
            "no tool fits these words: try others, or do without".to_owned()
        } else {
            RawJson::of(&json!({"tools": best})).as_str().to_owned()
        };
        Ok(ToolEnd::Done(ToolOutput {
            result: RawJson::of(&json!({"type": "text_response", "message": summary})),
            lane: Lane::Handoff,
            preview: Preview::text(&summary),
            summary,
            warnings,
        }))
    }
}

fn spec() -> ToolSpec {
    ToolSpec {
        name: NAME.into(),
        description:
            "Finds tools that you may use, by what they do: your own, operations of APIs that were read before, \
                      and saved pipelines. The hits say how each is called."
                .into(),
        parameters: json!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What the tool shall do, in a few words"},
                "limit": {"type": "integer", "description": "How many hits, 1 to 25; 5 where it is left out"},
            },
            "required": ["query"],
            "additionalProperties": false,
        }),
        strict: false,
    }
}
