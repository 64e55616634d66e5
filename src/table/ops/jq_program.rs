//! jq programs within bounds.
//!
//! jaq runs a program without a way to stop it. So the program, and jq's own library with it, is rewritten
//! before it is compiled: wherever values flow on, a `bounded_tick` is put in between that counts and may
//! refuse; operators that can make large values from small ones are replaced by ones that look first; and
//! definitions may not call themselves, since recursion is what a stack runs out of.

use std::sync::{Arc, atomic::AtomicBool};

use jaq_core::{
    Compiler, Ctx, Filter, Vars,
    compile::Undefined,
    load::{
        Arena, File, Lexer, Loader, Parser,
        parse::{Def, Term},
    },
    unwrap_valr,
};
use jaq_json::{Val, read};

use super::{
    jq_budget::{Budget, Data, Jq},
    jq_natives::{OUTSIDE, definitions, natives},
    jq_rewrite::{guarded, recursive},
};
use crate::table::{Limits, TableError};

/// Longest program in bytes.
const MAX_PROGRAM_BYTES: usize = 16 << 10;

/// What came out, each value as JSON.
pub(super) type Outputs = Vec<Vec<u8>>;

/// A compiled program.
pub(super) struct Program(Filter<Jq>);

impl Program {
    /// Compiles a program; the error is a sentence for its author.
    pub(super) fn compile(query: &str) -> Result<Self, String> {
        if query.len() > MAX_PROGRAM_BYTES {
            return Err(format!("the jq program is longer than {MAX_PROGRAM_BYTES} bytes"));
        }
        if let Some(deep) = nesting(query) {
            return Err(format!("the jq program nests {deep} levels deep, at most {MAX_NESTING} are read"));
        }
        let term = parse(query)?;
        if let Some(name) = recursive(&term) {
            return Err(format!("the definition of '{name}' calls itself, which is not available here"));
        }
        let main = Def { name: "bounded_main", args: Vec::new(), body: guarded(term) };
        let library = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let library =
            library.filter(|def| !OUTSIDE.contains(&def.name)).map(|def| Def { body: guarded(def.body), ..def });
        let bounded = definitions();
        let loader = Loader::new(bounded.into_iter().chain(library).chain([main]));
        let arena = Arena::default();
        let modules = loader
            .load(&arena, File { code: "bounded_main", path: () })
            .map_err(|_| "the jq program cannot be read".to_owned())?;
        let filter = Compiler::default().with_funs(natives()).compile(modules).map_err(|errors| {
            let names: Vec<String> = errors.iter().flat_map(|(_, errors)| errors.iter().map(undefined)).collect();
            format!("the jq program cannot be used: {}", names.join("; "))
        })?;
        Ok(Self(filter))
    }

    /// Runs on one JSON text. Stops with an error soon after `stop` is set.
    pub(super) fn run(&self, input: &[u8], stop: Arc<AtomicBool>, limits: &Limits) -> Result<Outputs, TableError> {
        let failed = |why: String| TableError::failed(why).with_field("query");
        let value = read::parse_single(input).map_err(|error| failed(format!("the table cannot be read: {error}")))?;
        let budget = Budget::new(limits, stop);
        let data = Data { lut: &self.0.lut, budget: &budget };
        let mut outputs = Vec::new();
        let mut bytes = 0;
        for result in self.0.id.run((Ctx::<Jq>::new(data, Vars::new([])), value)).map(unwrap_valr) {
            let value = result.map_err(|error| match budget.refused.borrow().as_ref() {
                Some(why) => TableError::limit(why.clone()).with_field("query"),
                None => failed(shortened(&format!("the jq program failed: {error}"))),
            })?;
            let mut text = Vec::new();
            write_json(&value, &mut text).map_err(failed)?;
            bytes += text.len();
            if bytes > limits.max_table_bytes {
                return Err(TableError::limit(format!(
                    "the jq program gives more than {} bytes",
                    limits.max_table_bytes
                )));
            }
            budget.tick().map_err(|error| TableError::limit(error.to_string()).with_field("query"))?;
            outputs.push(text);
        }
        match budget.refused.borrow().as_ref() {
            Some(why) => Err(TableError::limit(why.clone()).with_field("query")),
            None => Ok(outputs),
        }
    }
}

/// Errors show the value they are about, which may be the whole table.
fn shortened(message: &str) -> String {
    const SHOWN: usize = 300;
    let mut shown: String = message.chars().take(SHOWN).collect();
    if shown.len() < message.len() {
        shown.push('…');
    }
    shown
}

/// Deepest nesting of brackets that is parsed: the parser is recursive.
const MAX_NESTING: usize = 100;

/// The nesting of brackets and keywords, where it is too deep.
fn nesting(query: &str) -> Option<usize> {
    let opens = query.bytes().filter(|byte| b"([{".contains(byte)).count();
    let keyword = |word: &&str| matches!(*word, "if" | "try" | "reduce" | "foreach" | "def" | "label" | "as" | "not");
    let words = query.split(|c: char| !c.is_alphanumeric()).filter(keyword).count();
    let operators = query.bytes().filter(|byte| b"|,+-*/%".contains(byte)).count();
    let mut depth: usize = 0;
    let mut deepest = 0;
    for byte in query.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    // Operators climb by recursion too, so their number is bounded with the rest.
    let total = deepest.max(words / 4).max(operators / 20).max(opens / 40);
    (total > MAX_NESTING).then_some(total)
}

fn parse(query: &str) -> Result<Term<&str>, String> {
    let at = |rest: &str| {
        let column = query.len().saturating_sub(rest.len()) + 1;
        if rest.is_empty() { "at the end".to_owned() } else { format!("at column {column}") }
    };
    let tokens = Lexer::new(query).lex().map_err(|errors| {
        let reasons: Vec<String> =
            errors.iter().map(|(expected, rest)| format!("expected {} {}", expected.as_str(), at(rest))).collect();
        format!("the jq program cannot be read: {}", reasons.join("; "))
    })?;
    Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
        let reasons: Vec<String> = errors
            .iter()
            .map(|(expected, found)| {
                let found = found.map_or("the end", |token| token.as_str());
                format!("expected {}, found {:?}", expected.as_str(), found.chars().take(20).collect::<String>())
            })
            .collect();
        format!("the jq program cannot be read: {}", reasons.join("; "))
    })
}

fn undefined((name, kind): &(&str, Undefined)) -> String {
    match kind {
        Undefined::Filter(arity) => format!("there is no filter {name}/{arity}"),
        kind => format!("undefined {} {name}", kind.as_str()),
    }
}

/// Writes a value as JSON. What jq has beyond JSON is refused, but for text that is not UTF-8.
fn write_json(value: &Val, out: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Val::Num(number) => {
            let text = number.to_string();
            // Not a number and the infinities have no JSON; jq writes null.
            let finite = text.bytes().all(|byte| b"0123456789+-.eE".contains(&byte));
            out.extend_from_slice(if finite { text.as_bytes() } else { b"null" });
        }
        Val::TStr(text) | Val::BStr(text) => crate::table::read::push_string(out, &String::from_utf8_lossy(text)),
        Val::Arr(list) => {
            out.push(b'[');
            for (i, element) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_json(element, out)?;
            }
            out.push(b']');
        }
        Val::Obj(members) => {
            out.push(b'{');
            for (i, (key, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                match key {
                    Val::TStr(_) | Val::BStr(_) => write_json(key, out)?,
                    other => {
                        return Err(format!("the jq program gives an object with the key {other}, which is no text"));
                    }
                }
                out.push(b':');
                write_json(value, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}
