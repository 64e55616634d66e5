//! What the condition of an edge may be: an expression that can come out true or false.

use cel::common::ast::{Expr, LiteralValue, operators};

/// Functions that readers of CEL know: the standard ones, and the usual extensions for text, numbers and sets. Macros
/// are gone once an expression is read.
#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "size", "contains", "startsWith", "endsWith", "matches", "has", "all", "exists", "exists_one", "existsOne", "map",
    "filter", "int", "uint", "double", "string", "bytes", "bool", "type", "dyn", "duration", "timestamp", "getDate",
    "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes",
    "getMonth", "getSeconds", "max", "min", "now", "optional", "of", "none", "ofNonZeroValue", "hasValue", "value",
    "or", "orValue", "optMap", "optFlatMap", "charAt", "format", "indexOf", "join", "lastIndexOf", "lowerAscii", "quote",
    "replace", "reverse", "split", "strings", "substring", "trim", "upperAscii", "abs", "ceil", "floor", "greatest",
    "isFinite", "isInf", "isNaN", "least", "math", "round", "sign", "sqrt", "trunc", "bitAnd", "bitNot", "bitOr",
    "bitShiftLeft", "bitShiftRight", "bitXor", "base64", "decode", "encode", "sets", "equivalent", "intersects",
    "distinct", "first", "flatten", "last", "lists", "range", "slice", "sort", "sortBy", "cel", "bind", "isSorted",
    "sum", "find", "findAll", "regex", "extract", "extractAll", "block",
];

/// Functions that give something else than true or false, whatever they are called with.
const VALUES: &[&str] = &["size", "int", "uint", "double", "string", "bytes", "duration", "timestamp", "type"];

/// What keeps an expression from being a condition, or nothing. It has been read already.
pub(super) fn fault(program: &cel::Program) -> Option<String> {
    let references = program.references();
    let mut functions = references.functions();
    functions.sort_unstable();
    let known = |name: &str| FUNCTIONS.contains(&name.rsplit('.').next().unwrap_or(name));
    if let Some(name) = functions.into_iter().find(|name| is_name(name) && !known(name)) {
        return Some(format!("it calls {name}, which is no function of CEL"));
    }
    never_boolean(&program.expression().expr)
        .map(|what| format!("it is {what} and never true or false: compare it with something"))
}

/// Operators are functions as well, under names like `_+_`.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// What an expression is, where it can be no truth value.
fn never_boolean(expression: &Expr) -> Option<&'static str> {
    match expression {
        Expr::Literal(LiteralValue::Boolean(_)) => None,
        Expr::Literal(LiteralValue::String(_) | LiteralValue::Bytes(_)) => Some("a text"),
        Expr::Literal(LiteralValue::Null) => Some("null"),
        Expr::Literal(_) => Some("a number"),
        Expr::List(_) => Some("a list"),
        Expr::Map(_) | Expr::Struct(_) => Some("an object"),
        Expr::Call(call) => match call.func_name.as_str() {
            operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE => Some("a calculation"),
            operators::CONDITIONAL => call.args.iter().skip(1).find_map(|branch| never_boolean(&branch.expr)),
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
                call.args.iter().find_map(|side| never_boolean(&side.expr))
            }
            name if VALUES.contains(&name) => Some("a value"),
            _ => None,
        },
        _ => None,
    }
}
