//! Putting bounds into a parsed jq program.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Def, Pattern, Term},
    },
    ops::Math,
    path::{Part, Path},
};

type T<'s> = Term<&'s str>;

/// The term with all its parts bounded, and a tick before it.
pub(super) fn guarded(term: T<'_>) -> T<'_> {
    before(bounded(term))
}

fn tick<'s>() -> T<'s> {
    Term::Call("bounded_tick", Vec::new())
}

fn before(term: T<'_>) -> T<'_> {
    pipe(tick(), term)
}

fn after(term: T<'_>) -> T<'_> {
    pipe(term, tick())
}

fn pipe<'s>(left: T<'s>, right: T<'s>) -> T<'s> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
}

fn bind<'s>(value: T<'s>, name: &'s str, then: T<'s>) -> T<'s> {
    Term::BinOp(Box::new(value), BinaryOp::Pipe(Some(Pattern::Var(name))), Box::new(then))
}

fn boxed(term: T<'_>) -> Box<T<'_>> {
    Box::new(bounded(term))
}

/// The term with a tick wherever its values flow on.
fn bounded(term: T<'_>) -> T<'_> {
    match term {
        Term::Str(format, parts) if parts.iter().any(|part| matches!(part, StrPart::Term(_))) => {
            let text = Term::Str(format, parts.into_iter().map(part).collect());
            pipe(text, Term::Call("bounded_size", Vec::new()))
        }
        Term::Arr(inner) => Term::Arr(inner.map(|inner| Box::new(after(bounded(*inner))))),
        Term::Obj(members) => Term::Obj(members.into_iter().map(member).collect()),
        Term::Neg(inner) => Term::Neg(boxed(*inner)),
        Term::BinOp(left, operator, right) => binary(*left, operator, *right),
        Term::Label(name, inner) => Term::Label(name, boxed(*inner)),
        Term::Fold(name, source, pattern, rest) => {
            let rest = rest.into_iter().enumerate().map(|(i, term)| if i == 1 { guarded(term) } else { bounded(term) });
            Term::Fold(name, Box::new(after(bounded(*source))), pattern, rest.collect())
        }
        Term::TryCatch(inner, handler) => {
            // Without a handler errors vanish: a refusal must not.
            let handler = handler.map_or_else(|| Term::Call("empty", Vec::new()), |handler| bounded(*handler));
            Term::TryCatch(boxed(*inner), Some(Box::new(before(handler))))
        }
        Term::IfThenElse(branches, otherwise) => {
            let branches = branches.into_iter().map(|(test, then)| (bounded(test), bounded(then))).collect();
            Term::IfThenElse(branches, otherwise.map(|otherwise| boxed(*otherwise)))
        }
        Term::Def(definitions, inner) => {
            let definitions = definitions.into_iter().map(|def| Def { body: guarded(def.body), ..def }).collect();
            Term::Def(definitions, boxed(*inner))
        }
        Term::Call(name, arguments) => Term::Call(name, arguments.into_iter().map(argument).collect()),
        Term::Path(inner, Path(parts)) => {
            let parts = parts.into_iter().map(|(part, optional)| (path_part(part), optional)).collect();
            Term::Path(boxed(*inner), Path(parts))
        }
        plain => plain,
    }
}

fn argument(term: T<'_>) -> T<'_> {
    match term {
        Term::Id | Term::Var(_) | Term::Num(_) => term,
        term => after(bounded(term)),
    }
}

fn part<'s>(part: StrPart<&'s str, T<'s>>) -> StrPart<&'s str, T<'s>> {
    match part {
        StrPart::Term(term) => StrPart::Term(bounded(term)),
        text => text,
    }
}

fn member<'s>((key, value): (T<'s>, Option<T<'s>>)) -> (T<'s>, Option<T<'s>>) {
    match value {
        // `{a}` and `{$x}` mean something by being just that.
        None => (key, None),
        Some(value) => (bounded(key), Some(bounded(value))),
    }
}

fn path_part<'s>(part: Part<T<'s>>) -> Part<T<'s>> {
    match part {
        Part::Index(index) => Part::Index(bounded(index)),
        Part::Range(from, to) => Part::Range(from.map(bounded), to.map(bounded)),
    }
}

fn binary<'s>(left: T<'s>, operator: BinaryOp<&'s str>, right: T<'s>) -> T<'s> {
    let (left, right) = (bounded(left), bounded(right));
    match operator {
        BinaryOp::Pipe(_) | BinaryOp::Update => Term::BinOp(Box::new(left), operator, Box::new(before(right))),
        BinaryOp::Math(Math::Add) => Term::Call("bounded_add", vec![left, right]),
        BinaryOp::Math(math) => match bounded_name(&math) {
            // jq evaluates the right operand first, and the left once for each of its values.
            Some(name) => {
                let call = Term::Call(name, vec![Term::Var("$bounded_left"), Term::Var("$bounded_right")]);
                bind(right, "$bounded_right", bind(left, "$bounded_left", call))
            }
            None => Term::BinOp(Box::new(left), BinaryOp::Math(math), Box::new(right)),
        },
        BinaryOp::UpdateMath(math) => match bounded_name(&math) {
            Some(name) => {
                let call = Term::Call(name, vec![Term::Id, Term::Var("$bounded_right")]);
                let update = Term::BinOp(Box::new(left), BinaryOp::Update, Box::new(before(call)));
                bind(right, "$bounded_right", update)
            }
            None => Term::BinOp(Box::new(left), BinaryOp::UpdateMath(math), Box::new(right)),
        },
        operator => Term::BinOp(Box::new(left), operator, Box::new(right)),
    }
}

fn bounded_name(math: &Math) -> Option<&'static str> {
    match math {
        Math::Add => Some("bounded_add"),
        Math::Sub => Some("bounded_sub"),
        Math::Mul => Some("bounded_mul"),
        _ => None,
    }
}

/// A definition within the term that calls itself.
pub(super) fn recursive<'s>(term: &T<'s>) -> Option<&'s str> {
    let mut found = None;
    each(term, &mut |term| {
        if let Term::Def(definitions, _) = term {
            for def in definitions {
                let mut calls = false;
                each(&def.body, &mut |inner| {
                    calls |= matches!(inner, Term::Call(name, arguments)
                        if *name == def.name && arguments.len() == def.args.len());
                });
                if calls {
                    found = Some(def.name);
                }
            }
        }
    });
    found
}

/// Shows a term and all terms within it.
fn each<'t, 's>(term: &'t T<'s>, show: &mut dyn FnMut(&'t T<'s>)) {
    show(term);
    let mut inner: Vec<&'t T<'s>> = Vec::new();
    match term {
        Term::Str(_, parts) => inner.extend(parts.iter().filter_map(|part| match part {
            StrPart::Term(term) => Some(term),
            _ => None,
        })),
        Term::Arr(Some(term)) | Term::Neg(term) | Term::Label(_, term) => inner.push(term),
        Term::Obj(members) => {
            inner.extend(members.iter().flat_map(|(key, value)| std::iter::once(key).chain(value)));
        }
        Term::BinOp(left, operator, right) => {
            if let BinaryOp::Pipe(Some(pattern)) = operator {
                keys_of(pattern, &mut inner);
            }
            inner.extend([&**left, &**right]);
        }
        Term::Fold(_, source, pattern, rest) => {
            keys_of(pattern, &mut inner);
            inner.push(source);
            inner.extend(rest);
        }
        Term::TryCatch(body, handler) => inner.extend(std::iter::once(&**body).chain(handler.as_deref())),
        Term::IfThenElse(branches, otherwise) => {
            inner.extend(branches.iter().flat_map(|(test, then)| [test, then]));
            inner.extend(otherwise.as_deref());
        }
        Term::Def(definitions, body) => {
            inner.extend(definitions.iter().map(|def| &def.body));
            inner.push(body);
        }
        Term::Call(_, arguments) => inner.extend(arguments),
        Term::Path(body, Path(parts)) => {
            inner.push(body);
            inner.extend(parts.iter().flat_map(|(part, _)| match part {
                Part::Index(index) => vec![index],
                Part::Range(from, to) => from.iter().chain(to).collect(),
            }));
        }
        _ => {}
    }
    inner.into_iter().for_each(|term| each(term, show));
}

fn keys_of<'t, 's>(pattern: &'t Pattern<&'s str>, inner: &mut Vec<&'t T<'s>>) {
    match pattern {
        Pattern::Var(_) => {}
        Pattern::Arr(list) => list.iter().for_each(|pattern| keys_of(pattern, inner)),
        Pattern::Obj(members) => members.iter().for_each(|(key, pattern)| {
            inner.push(key);
            keys_of(pattern, inner);
        }),
    }
}
