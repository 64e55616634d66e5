//! CEL over a row: compiled once, fields bound by name, arithmetic that mixes whole and decimal numbers.
//!
//! The parsed expression is rewritten before it runs. A field that a row does not have becomes null, the
//! arithmetic operators become functions of ours (CEL's own refuse `2 * 1.5`, and double arithmetic makes
//! 3.3000000000000003 of `1.1 * 3`), and every comprehension is counted against a budget.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Value,
    common::{
        ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
        value::{CowVal, Val},
    },
    context::VariableResolver,
    extensions,
};
use parking_lot::Mutex;

use super::cel_value::{arithmetic, from_json, joined, to_json};
use crate::{
    settings::limits::expression_fault,
    table::{
        TableError,
        read::{Field, Layout, Slots, quoted},
    },
};

/// Deepest comprehension within comprehensions.
const MAX_COMPREHENSIONS: usize = 2;

/// Elements that all comprehensions of one row may visit.
const MAX_ELEMENTS: u64 = 100_000;

/// Names that CEL itself means by an identifier.
const TYPES: [&str; 10] = ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "type", "null_type"];

/// Names that stand before functions, as in `math.abs(x)`.
const LIBRARIES: [&str; 2] = ["math", "strings"];

/// A compiled expression.
pub(super) struct Expression {
    tree: IdedExpr,
    env: Arc<Env>,
    /// What the expression calls a value, and how it is found in a row.
    names: HashMap<String, Binding>,
    /// The field that the whole expression is, where it is only that: its digits need not be touched.
    plain: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Binding {
    /// The field's value, or null.
    Value(String),
    /// Whether the field is there.
    Present(String),
    /// The whole row.
    Row,
}

impl Expression {
    /// Compiles CEL.
    pub(super) fn compile(source: &str) -> Result<Self, TableError> {
        let wrong = |why: String| TableError::invalid(why).with_field("expr").with_found(source);
        if let Some(fault) = expression_fault(source) {
            return Err(wrong(fault));
        }
        let mut env = Env::stdlib();
        let extended = env.add_extension(extensions::strings).and_then(|()| env.add_extension(extensions::math));
        extended.map_err(|error| wrong(format!("the expression language is not available: {error:?}")))?;
        let mut tree = env.parser().parse(source).map_err(|errors| {
            let reasons: Vec<String> =
                errors.errors.iter().map(|error| format!("{} at column {}", error.msg, error.pos.1)).collect();
            wrong(format!("the expression cannot be read: {}", reasons.join("; ")))
        })?;
        let env = Arc::new(env);
        let functions = Context::with_env(Arc::clone(&env));
        let mut rewrite = Rewrite { names: HashMap::new(), scope: Vec::new(), depth: 0, functions: &functions };
        rewrite.expression(&mut tree).map_err(wrong)?;
        let plain = match &tree.expr {
            Expr::Ident(name) => match rewrite.names.get(name) {
                Some(Binding::Value(field)) => Some(field.clone()),
                _ => None,
            },
            _ => None,
        };
        let names = rewrite.names;
        drop(functions);
        Ok(Self { tree, env, names, plain })
    }

    /// The fields it reads.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.names.values().filter_map(|binding| match binding {
            Binding::Value(field) => Some(field.as_str()),
            _ => None,
        })
    }

    /// Finds the fields' places in a pass.
    pub(super) fn bind(&self, layout: &mut Layout) -> Bound<'_> {
        let names = self.names.iter().map(|(name, binding)| {
            let place = match binding {
                Binding::Value(field) => Place::Value(layout.key(field)),
                Binding::Present(field) => Place::Present(layout.key(field)),
                Binding::Row => Place::Row,
            };
            (name.as_str(), place)
        });
        let names = names.collect();
        let plain = self.plain.as_deref().map(|field| layout.key(field));
        Bound { expression: self, names, plain }
    }
}

/// Turns a parsed expression into the one that runs.
struct Rewrite<'c> {
    names: HashMap<String, Binding>,
    /// Variables of the comprehensions around.
    scope: Vec<String>,
    depth: usize,
    /// Knows every function that there is.
    functions: &'c Context<'static, 'static>,
}

impl Rewrite<'_> {
    fn expression(&mut self, node: &mut IdedExpr) -> Result<(), String> {
        if let Some(name) = self.field_of_row(&node.expr) {
            node.expr = Expr::Ident(name);
            return Ok(());
        }
        match &mut node.expr {
            Expr::Ident(name) => self.identifier(name),
            Expr::Select(select) => {
                self.expression(&mut select.operand)?;
                if !select.test {
                    let operand = std::mem::take(&mut *select.operand);
                    let field = IdedExpr { id: node.id, expr: text(std::mem::take(&mut select.field)) };
                    node.expr = call("@member", vec![operand, field]);
                }
            }
            Expr::Call(called) => self.called(called)?,
            Expr::List(list) => list.elements.iter_mut().try_for_each(|element| self.expression(element))?,
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| self.entry(&mut entry.expr))?,
            Expr::Struct(made) => made.entries.iter_mut().try_for_each(|entry| self.entry(&mut entry.expr))?,
            Expr::Comprehension(_) => self.comprehension(&mut node.expr)?,
            Expr::Literal(_) | Expr::Unspecified => {}
        }
        Ok(())
    }

    fn entry(&mut self, entry: &mut EntryExpr) -> Result<(), String> {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.expression(&mut entry.key)?;
                self.expression(&mut entry.value)
            }
            EntryExpr::StructField(field) => self.expression(&mut field.value),
        }
    }

    fn called(&mut self, called: &mut CallExpr) -> Result<(), String> {
        if let Some(target) = &mut called.target {
            // The name of a library, as in `math.round(x)`, is no field.
            if !matches!(&target.expr, Expr::Ident(name) if LIBRARIES.contains(&name.as_str())) {
                self.expression(target)?;
            }
        }
        called.args.iter_mut().try_for_each(|argument| self.expression(argument))?;
        let ours = match (called.func_name.as_str(), called.args.len()) {
            (operators::ADD, 2) => "@add",
            (operators::SUBSTRACT, 2) => "@subtract",
            (operators::MULTIPLY, 2) => "@multiply",
            (operators::DIVIDE, 2) => "@divide",
            (operators::MODULO, 2) => "@modulo",
            ("replace", 2) if called.target.is_some() => "@replace",
            ("join", 0 | 1) if called.target.is_some() => "@join",
            _ => return self.known(called),
        };
        ours.clone_into(&mut called.func_name);
        if let Some(target) = called.target.take() {
            called.args.insert(0, *target);
        }
        if ours == "@join" && called.args.len() == 1 {
            called.args.push(IdedExpr { id: 0, expr: text(String::new()) });
        }
        Ok(())
    }

    /// Refuses a function that there is not. What is known is known to the language alone, and asked by a call with
    /// nothing: a function that is there refuses the values, or answers.
    fn known(&self, called: &CallExpr) -> Result<(), String> {
        let name = &called.func_name;
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Ok(());
        }
        let nothing = || IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) };
        let library = called.target.as_ref().and_then(|target| match &target.expr {
            Expr::Ident(library) if LIBRARIES.contains(&library.as_str()) => Some(library.as_str()),
            _ => None,
        });
        let target = called.target.as_ref().map(|_| match library {
            Some(library) => IdedExpr { id: 0, expr: Expr::Ident(library.to_owned()) },
            None => nothing(),
        });
        let args = called.args.iter().map(|_| nothing()).collect();
        let asked = Expr::Call(CallExpr { func_name: name.clone(), target: target.map(Box::new), args });
        match Value::resolve(&IdedExpr { id: 0, expr: asked }, self.functions) {
            Err(ExecutionError::UndeclaredReference(_)) => {
                let shown = library.map_or_else(|| name.clone(), |library| format!("{library}.{name}"));
                let (count, s) = (called.args.len(), if called.args.len() == 1 { "" } else { "s" });
                Err(format!("there is no function '{shown}' that takes {count} argument{s} in an expression"))
            }
            _ => Ok(()),
        }
    }

    fn comprehension(&mut self, expr: &mut Expr) -> Result<(), String> {
        let Expr::Comprehension(one) = expr else { return Ok(()) };
        self.expression(&mut one.iter_range)?;
        self.expression(&mut one.accu_init)?;
        self.depth += 1;
        if self.depth > MAX_COMPREHENSIONS {
            return Err(format!("loops over lists go at most {MAX_COMPREHENSIONS} deep in an expression"));
        }
        let before = self.scope.len();
        self.scope.extend([one.iter_var.clone(), one.accu_var.clone()]);
        self.scope.extend(one.iter_var2.clone());
        self.expression(&mut one.loop_cond)?;
        self.step(&mut one.loop_step, &one.accu_var)?;
        self.expression(&mut one.result)?;
        self.scope.truncate(before);
        self.depth -= 1;
        let range = std::mem::take(&mut one.iter_range);
        one.iter_range = IdedExpr { id: range.id, expr: call("@counted", vec![range]) };
        Ok(())
    }

    /// The step of a comprehension. Where it appends to what it has gathered it keeps its shape: CEL knows
    /// that shape and appends in place.
    fn step(&mut self, node: &mut IdedExpr, gathered: &str) -> Result<(), String> {
        let appends = |called: &CallExpr| {
            called.func_name == operators::ADD
                && matches!(called.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name == gathered)
        };
        match &mut node.expr {
            Expr::Call(called) if appends(called) => {
                called.args.iter_mut().skip(1).try_for_each(|argument| self.expression(argument))
            }
            Expr::Call(called) if called.func_name == operators::CONDITIONAL && called.args.len() == 3 => {
                self.expression(&mut called.args[0])?;
                called.args[1..].iter_mut().try_for_each(|branch| self.step(branch, gathered))
            }
            _ => self.expression(node),
        }
    }

    fn identifier(&mut self, name: &str) {
        if self.scope.iter().any(|variable| variable == name) || TYPES.contains(&name) {
            return;
        }
        let binding = if name == "row" { Binding::Row } else { Binding::Value(name.to_owned()) };
        self.names.insert(name.to_owned(), binding);
    }

    /// The name for `row.x`, `row["x"]` or `has(row.x)`, so that only this field is read.
    fn field_of_row(&mut self, expr: &Expr) -> Option<String> {
        let is_row = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if name == "row");
        if self.scope.iter().any(|variable| variable == "row") {
            return None;
        }
        let (field, test) = match expr {
            Expr::Select(select) if is_row(&select.operand) => (select.field.clone(), select.test),
            Expr::Call(called) if called.func_name == operators::INDEX && is_row(called.args.first()?) => {
                match &called.args.get(1)?.expr {
                    Expr::Literal(LiteralValue::String(field)) => (field.inner().to_owned(), false),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let (name, binding) = match test {
            true => (format!("?{field}"), Binding::Present(field)),
            false => (format!("@{field}"), Binding::Value(field)),
        };
        self.names.insert(name.clone(), binding);
        Some(name)
    }
}

fn call(function: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args })
}

fn text(value: String) -> Expr {
    Expr::Literal(LiteralValue::String(value.into()))
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Value(usize),
    Present(usize),
    Row,
}

/// An expression that knows where a pass puts its fields.
pub(super) struct Bound<'e> {
    expression: &'e Expression,
    names: HashMap<&'e str, Place>,
    plain: Option<usize>,
}

/// Evaluates on one thread.
pub(super) struct Evaluator<'e> {
    bound: &'e Bound<'e>,
    context: Context<'static, 'static>,
    visited: Arc<AtomicU64>,
}

impl<'e> Bound<'e> {
    pub(super) fn evaluator(&'e self) -> Evaluator<'e> {
        let visited = Arc::new(AtomicU64::new(0));
        let mut context = Context::with_env(Arc::clone(&self.expression.env));
        // None of these names is a standard one, which is the only thing that can be refused.
        for operator in ["@add", "@subtract", "@multiply", "@divide", "@modulo"] {
            let _ = context.add_function(operator, move |a: Value, b: Value| arithmetic(operator, a, b));
        }
        let _ = context.add_function("@member", member);
        let _ = context.add_function("@join", |list: Value, separator: Arc<String>| joined(&list, &separator));
        let _ = context.add_function("@replace", |text: Arc<String>, from: Arc<String>, to: Arc<String>| {
            super::cel_value::replaced(&text, &from, &to)
        });
        let counter = Arc::clone(&visited);
        let _ = context.add_function("@counted", move |range: Value| counted(range, &counter));
        Evaluator { bound: self, context, visited }
    }
}

impl Evaluator<'_> {
    /// The expression's value for a row, as JSON; or why there is none.
    pub(super) fn evaluate(&self, row: &str, slots: &Slots<'_>) -> Result<String, String> {
        if let Some(slot) = self.bound.plain {
            return Ok(slots[slot].unwrap_or("null").to_owned());
        }
        self.visited.store(0, Ordering::Relaxed);
        let scope = RowScope { names: &self.bound.names, row, slots, unread: Mutex::new(None) };
        let mut context = self.context.new_inner_scope();
        context.set_variable_resolver(&scope);
        let value = Value::resolve(&self.bound.expression.tree, &context);
        drop(context);
        match scope.unread.into_inner() {
            Some(unread) => Err(unread),
            None => to_json(&value.map_err(|error| reason(&error))?),
        }
    }
}

/// A cel error in a plan's terms: our own names for operators do not show.
fn reason(error: &ExecutionError) -> String {
    let message = match error {
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    message.chars().take(200).collect()
}

/// A member of an object; null where it has none.
fn member(object: Value, name: Arc<String>) -> Result<Value, ExecutionError> {
    match object {
        Value::Map(map) => Ok(map.get(&cel::objects::Key::from(name)).cloned().unwrap_or(Value::Null)),
        Value::Null => Ok(Value::Null),
        other => {
            Err(ExecutionError::function_error("_._", format!("a {} has no member {}", other.type_of(), quoted(&name))))
        }
    }
}

/// Counts what a comprehension is about to visit.
fn counted(range: Value, visited: &AtomicU64) -> Result<Value, ExecutionError> {
    let length = match &range {
        Value::List(list) => list.len(),
        Value::Map(map) => map.map.len(),
        _ => 0,
    };
    let before = visited.fetch_add(length as u64, Ordering::Relaxed);
    if before + length as u64 > MAX_ELEMENTS {
        let message = format!("the loops of one row visit more than {MAX_ELEMENTS} elements");
        return Err(ExecutionError::function_error("loop", message));
    }
    Ok(range)
}

/// The names of one row.
struct RowScope<'r> {
    names: &'r HashMap<&'r str, Place>,
    row: &'r str,
    slots: &'r Slots<'r>,
    /// Why the value of a name cannot be read: the row has no result then.
    unread: Mutex<Option<String>>,
}

impl RowScope<'_> {
    fn read(&self, raw: &str) -> Value {
        from_json(raw).unwrap_or_else(|why| {
            *self.unread.lock() = Some(why);
            Value::Null
        })
    }
}

impl VariableResolver for RowScope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let value = match *self.names.get(variable)? {
            Place::Value(slot) => self.read(self.slots[slot].unwrap_or("null")),
            Place::Present(slot) => Value::Bool(self.slots[slot].is_some()),
            Place::Row => self.read(self.row),
        };
        let value: Box<dyn Val> = value.try_into().ok()?;
        Some(value.into())
    }
}

/// The fields of an expression, for the check of a plan.
pub(super) fn fields(expression: &Expression) -> Vec<Field> {
    let mut fields: Vec<Field> = expression.fields().map(Field::literal).collect();
    fields.sort_by(|a, b| a.name().cmp(b.name()));
    fields
}
