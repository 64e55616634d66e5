//! JSON to CEL values and back, and arithmetic that does not mind mixing whole and decimal numbers.

use std::{collections::HashMap, sync::Arc};

use cel::{
    ExecutionError, Value,
    objects::{Key, Map},
};

use crate::table::{
    read::{Scanner, quoted},
    value::{Cell, Exact, float_text},
};

/// Longest text that an expression may build.
const MAX_TEXT: usize = 1 << 20;

/// Reads a well-formed value.
///
/// # Errors
/// Says which whole number is beyond 64 bits: as a double it would be another number.
pub(super) fn from_json(raw: &str) -> Result<Value, String> {
    Ok(match Cell::read(Some(raw)) {
        Cell::Null => Value::Null,
        Cell::Bool(truth) => Value::Bool(truth),
        Cell::Number(number) => match raw.parse::<i64>() {
            Ok(whole) => Value::Int(whole),
            Err(_) if is_written_whole(raw) => return Err(too_many_digits(raw)),
            Err(_) => Value::Float(number.approx()),
        },
        Cell::Text(text) => Value::String(Arc::new(text.into_owned())),
        Cell::Array(raw) => {
            let mut list = Vec::new();
            let _ = Scanner::new(raw).array(|element| list.push(from_json(element)));
            Value::List(Arc::new(list.into_iter().collect::<Result<_, _>>()?))
        }
        Cell::Object(raw) => {
            let mut map: HashMap<Key, Result<Value, String>> = HashMap::new();
            let _ = Scanner::new(raw).object(|key, value| {
                map.insert(Key::String(Arc::new(key.decode().into_owned())), from_json(value));
            });
            let map: Result<HashMap<Key, Value>, String> =
                map.into_iter().map(|(key, value)| Ok((key, value?))).collect();
            Value::Map(Map { map: Arc::new(map?) })
        }
    })
}

fn is_written_whole(number: &str) -> bool {
    number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

fn too_many_digits(number: &str) -> String {
    const SHOWN: usize = 40;
    let (shown, more) = if number.len() > SHOWN { (&number[..SHOWN], "…") } else { (number, "") };
    format!("{shown}{more} does not fit 64 bits: an expression cannot keep its digits")
}

/// Writes a value as JSON; members by name, so that the same value is the same text.
pub(super) fn to_json(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => {
            float_text(*number).ok_or_else(|| format!("the result is {number}, which is no JSON"))?
        }
        Value::String(text) => quoted(text),
        Value::List(list) => {
            let elements: Result<Vec<String>, String> = list.iter().map(to_json).collect();
            format!("[{}]", elements?.join(","))
        }
        Value::Map(map) => {
            let mut members: Vec<(String, String)> = Vec::with_capacity(map.map.len());
            for (key, value) in map.map.iter() {
                members.push((key.to_string(), to_json(value)?));
            }
            members.sort();
            let members: Vec<String> =
                members.into_iter().map(|(key, value)| format!("{}:{value}", quoted(&key))).collect();
            format!("{{{}}}", members.join(","))
        }
        other => return Err(format!("a {} cannot be written as JSON", other.type_of())),
    })
}

/// One arithmetic operator: whole numbers as CEL has them, others as decimals, text and lists only added.
pub(super) fn arithmetic(operator: &'static str, a: Value, b: Value) -> Result<Value, ExecutionError> {
    let sign = sign(operator);
    match (&a, &b) {
        (Value::Int(x), Value::Int(y)) => whole(operator, *x, *y),
        (Value::Int(_) | Value::UInt(_) | Value::Float(_), Value::Int(_) | Value::UInt(_) | Value::Float(_)) => {
            Ok(decimal(operator, &a, &b))
        }
        (Value::String(x), Value::String(y)) if operator == "@add" => {
            bounded(x.len() + y.len())?;
            Ok(Value::String(Arc::new(format!("{x}{y}"))))
        }
        (Value::List(x), Value::List(y)) if operator == "@add" => {
            Ok(Value::List(Arc::new(x.iter().chain(y.iter()).cloned().collect())))
        }
        _ => Err(fault(sign, format!("{} {sign} {} is not defined", a.type_of(), b.type_of()))),
    }
}

fn sign(operator: &str) -> &'static str {
    match operator {
        "@add" => "+",
        "@subtract" => "-",
        "@multiply" => "*",
        "@divide" => "/",
        _ => "%",
    }
}

fn fault(sign: &str, message: String) -> ExecutionError {
    ExecutionError::function_error(sign, message)
}

fn whole(operator: &str, a: i64, b: i64) -> Result<Value, ExecutionError> {
    let sign = sign(operator);
    if b == 0 && matches!(operator, "@divide" | "@modulo") {
        return Err(fault(sign, "division by zero".into()));
    }
    let result = match operator {
        "@add" => a.checked_add(b),
        "@subtract" => a.checked_sub(b),
        "@multiply" => a.checked_mul(b),
        "@divide" => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    result.map(Value::Int).ok_or_else(|| fault(sign, format!("{a} {sign} {b} does not fit 64 bits")))
}

/// Decimal where 128 bits hold the exact result, so that `1.1 * 3` is 3.3; in doubles otherwise.
fn decimal(operator: &str, a: &Value, b: &Value) -> Value {
    let exact = exact(a).zip(exact(b)).and_then(|(a, b)| match operator {
        "@add" => a.add(b),
        "@subtract" => a.add(b.negated()?),
        "@multiply" => a.times(b),
        _ => None,
    });
    if let Some(exact) = exact {
        return Value::Float(exact.approx());
    }
    let (a, b) = (double(a), double(b));
    Value::Float(match operator {
        "@add" => a + b,
        "@subtract" => a - b,
        "@multiply" => a * b,
        "@divide" => a / b,
        _ => a % b,
    })
}

fn exact(value: &Value) -> Option<Exact> {
    match value {
        Value::Int(number) => Exact::read(&number.to_string()),
        Value::UInt(number) => Exact::read(&number.to_string()),
        Value::Float(number) => Exact::read(&float_text(*number)?),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "the nearest double is what is wanted")]
fn double(value: &Value) -> f64 {
    match value {
        Value::Int(number) => *number as f64,
        Value::UInt(number) => *number as f64,
        Value::Float(number) => *number,
        _ => f64::NAN,
    }
}

fn bounded(length: usize) -> Result<(), ExecutionError> {
    if length > MAX_TEXT {
        return Err(fault("text", format!("the text would be longer than {MAX_TEXT} bytes")));
    }
    Ok(())
}

/// `text.replace(from, to)`, bounded.
pub(super) fn replaced(text: &str, from: &str, to: &str) -> Result<Value, ExecutionError> {
    let count = text.matches(from).count();
    bounded(text.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(Value::String(Arc::new(text.replace(from, to))))
}

/// `list.join(separator)`, bounded; what is no text stands as its JSON.
pub(super) fn joined(list: &Value, separator: &str) -> Result<Value, ExecutionError> {
    let Value::List(list) = list else {
        return Err(fault("join", format!("join needs a list, found {}", list.type_of())));
    };
    let mut out = String::new();
    for (i, element) in list.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        match element {
            Value::String(text) => out.push_str(text),
            other => out.push_str(&to_json(other).map_err(|reason| fault("join", reason))?),
        }
        bounded(out.len())?;
    }
    Ok(Value::String(Arc::new(out)))
}
