//! Requests about data: from a sentence and the columns at hand to a pipeline.
//!
//! Tokens are read left to right by small parsers, one file per family. Each takes the words it understands or
//! leaves them alone; a word that none takes is a refusal, so nothing that was said is ever ignored.

mod aggregate;
mod columns;
mod comparison;
mod condition;
mod derive;
mod logic;
mod noun;
mod order;
mod parser;
mod quantity;
mod rank;
mod remove;
mod resolve;
mod route;
mod select;
mod slice;
mod stage;
mod value;
mod vocabulary;

use serde_json::Value;

pub(super) use parser::Misunderstood;

use super::lex::Token;
use crate::planner::Column;

/// The pipeline that `tokens` ask for, over `columns` where they are known.
pub(super) fn pipeline(tokens: &[Token], columns: Option<&[Column]>) -> Result<Vec<Value>, Misunderstood> {
    parser::pipeline(tokens, &columns::Columns::new(columns))
}
