//! Adding, removing, renaming and connecting nodes.

use serde_json::{Map, Value};

use super::{
    condition,
    flow::{Flow, identifier},
    nodes::{NODE_WORDS, TYPES, must, node},
    settings,
};
use crate::planner::rules::{
    cursor::{Cursor, Problem},
    lex::Kind,
};

/// Whether the command was there.
pub(super) type Found = Result<bool, Problem>;

/// Where a new node goes.
pub(super) enum Place {
    After(String),
    Before(String),
    Between(String, String),
    /// The first node of an empty workflow.
    Alone,
}

/// `after X`, `before X`, `between X and Y`, `at the end`.
pub(super) fn place(at: &mut Cursor<'_>, flow: &Flow) -> Result<Option<Place>, Problem> {
    const PLACE_WORDS: &[&str] = &[
        "at the end of the workflow",
        "to the end of the workflow",
        "at the very end",
        "at the end",
        "to the end",
        "as the last step",
        "as the last node",
    ];
    at.eat(",");
    at.eat_any(&["right", "directly", "immediately", "just"]);
    if at.eat_any(PLACE_WORDS).is_some() {
        let last = flow.last().ok_or("where the end is: several nodes have nothing behind them (say \"after X\")")?;
        return Ok(Some(Place::After(last.id.clone())));
    }
    if at.eat_any(&["between", "in between"]).is_some() {
        let from = must(at, flow)?;
        if at.eat_any(&["and", ","]).is_none() {
            return Err(format!("the second node of \"between {from} and …\""));
        }
        return Ok(Some(Place::Between(from, must(at, flow)?)));
    }
    if at.eat_any(&["after", "behind", "following", "downstream of"]).is_some() {
        return Ok(Some(Place::After(must(at, flow)?)));
    }
    if at.eat_any(&["before", "in front of", "ahead of", "prior to", "upstream of"]).is_some() {
        return Ok(Some(Place::Before(must(at, flow)?)));
    }
    Ok(None)
}

/// `add a filter node called cheap after fetch`.
pub(super) fn add(at: &mut Cursor<'_>, flow: &mut Flow) -> Found {
    let start = at.look();
    let Some(_) =
        at.eat_any(&["add", "insert", "append", "put", "introduce", "create", "include", "place", "build in"])
    else {
        return Ok(false);
    };
    at.articles();
    at.eat_any(&["new", "another", "extra", "additional"]);
    let Some(mut new) = described(at, flow)? else {
        *at = start;
        return Ok(false);
    };
    let early = place(at, flow)?;
    new.name(at);
    new.configure(at, flow)?;
    let place = match early {
        Some(place) => Some(place),
        None => place_again(at, flow)?,
    };
    new.name(at);
    new.configure(at, flow)?;
    let place = match place {
        Some(place) => place,
        None if flow.nodes.is_empty() => Place::Alone,
        None => return Err("where the new node goes (say \"after X\", \"before X\" or \"between X and Y\")".into()),
    };
    let wanted = new.id.clone().unwrap_or_else(|| new.base.clone());
    if let Some(id) = &new.id
        && flow.node(&identifier(id)).is_some()
    {
        return Err(format!("a new node `{}`: there is one already", identifier(id)));
    }
    let id = flow.free_id(&wanted);
    flow.add_node(&id, &new.kind, new.config);
    attach(flow, &id, &place)?;
    Ok(true)
}

fn place_again(at: &mut Cursor<'_>, flow: &Flow) -> Result<Option<Place>, Problem> {
    let before = at.look();
    at.eat_any(&["and put it", "and place it", ", and put it", "and connect it"]);
    let found = place(at, flow)?;
    if found.is_none() {
        *at = before;
    }
    Ok(found)
}

/// A node that is to be made.
struct New {
    kind: String,
    base: String,
    id: Option<String>,
    config: Map<String, Value>,
}

impl New {
    fn name(&mut self, at: &mut Cursor<'_>) {
        #[rustfmt::skip]
        const NAME_WORDS: &[&str] = &[
            "called", "named", "with the id", "with id", "with the name", "with name", "and call it",
            "and name it", "id",
        ];
        if at.eat_any(NAME_WORDS).is_some()
            && let Some(token) = at.peek(0).filter(|token| token.is_word() || token.kind == Kind::Quoted)
        {
            self.id = Some(token.raw.clone());
            at.at += 1;
        }
    }

    /// `with url https://… and method POST`, `calling https://…`.
    fn configure(&mut self, at: &mut Cursor<'_>, flow: &Flow) -> Result<(), Problem> {
        if at.eat_any(&["calling", "that calls", "which calls", "for url", "to call", "that fetches", "to"]).is_some() {
            let Some(token) = at.peek(0).filter(|token| token.kind == Kind::Url) else {
                at.at -= 1;
                return Ok(());
            };
            at.at += 1;
            self.config.insert("url".into(), token.raw.as_str().into());
        }
        if at.eat("with") {
            loop {
                let (key, value) = settings::pair(at, flow)?;
                self.config.insert(key, value);
                let before = at.look();
                if !(at.joint() && settings::pair(&mut at.look(), flow).is_ok()) {
                    *at = before;
                    break;
                }
            }
        }
        Ok(())
    }
}

/// `filter node`, `http step`, `slack notification`: what is to be made.
fn described(at: &mut Cursor<'_>, flow: &Flow) -> Result<Option<New>, Problem> {
    if let Some(new) = super::notify::described(at)? {
        return Ok(Some(New { kind: "function".into(), base: new.0, id: None, config: new.1 }));
    }
    let start = at.look();
    let kind = at.eat_key(TYPES).map(str::to_owned).or_else(|| {
        // A type of the installation's own, which the workflow uses already.
        let own = flow.nodes.iter().find(|node| node.kind == at.word(0))?;
        at.at += 1;
        Some(own.kind.clone())
    });
    let node = at.eat_any(NODE_WORDS).is_some();
    match kind {
        Some(kind) if kind != "hitl" || !at.sees("for") => {
            let asks = kind == "hitl";
            let base = if asks { "approval".into() } else { kind.clone() };
            let config = if asks { Map::from_iter([("message".to_owned(), "Approve?".into())]) } else { Map::new() };
            Ok(Some(New { kind, base, id: None, config }))
        }
        Some(_) => {
            *at = start;
            Ok(None)
        }
        None if node => Err("the type of the new node (function, http, agent, hitl, conditional, loop, parallel, transform, aggregate or filter)".into()),
        None => {
            *at = start;
            Ok(None)
        }
    }
}

/// Puts a new node at its place, with the edges around it.
pub(super) fn attach(flow: &mut Flow, id: &str, place: &Place) -> Result<(), Problem> {
    match place {
        Place::Alone => Ok(()),
        Place::After(before) => {
            let out = flow.out_of(before);
            if out.len() > 1 && out.iter().any(|edge| edge.condition.is_some()) {
                return Err(format!(
                    "which way out of `{before}` is meant (say \"between {before} and {}\")",
                    out[0].to
                ));
            }
            if let [edge] = out.as_slice() {
                // A condition stays on the way out of the node that decides.
                flow.move_edge(edge, "to", id);
                return flow.add_edge(id, &edge.to, None);
            }
            for edge in &out {
                flow.move_edge(edge, "from", id);
            }
            flow.add_edge(before, id, None)
        }
        Place::Before(after) => {
            let ins = flow.to(after);
            if ins.is_empty() {
                return Err(format!("a node before `{after}`: nothing leads there, so it would never be reached"));
            }
            for edge in &ins {
                flow.move_edge(edge, "to", id);
            }
            flow.add_edge(id, after, None)
        }
        Place::Between(from, to) => {
            let edge = flow.edges.iter().find(|edge| edge.from == *from && edge.to == *to).cloned();
            let Some(edge) = edge else { return Err(format!("an edge from `{from}` to `{to}` (there is none)")) };
            flow.move_edge(&edge, "to", id);
            flow.add_edge(id, to, None)
        }
    }
}

/// `remove the email node`, `remove the edge between a and b`.
pub(super) fn remove(at: &mut Cursor<'_>, flow: &mut Flow) -> Found {
    let verbs = ["remove", "delete", "drop", "get rid of", "take out", "eliminate", "cut out"];
    if at.eat_any(&verbs).is_none() {
        return Ok(false);
    }
    at.articles();
    if at.eat_any(&["edge", "connection", "link"]).is_some() {
        at.eat_any(&["between", "from"]);
        let from = must(at, flow)?;
        if at.eat_any(&["and", "to", "->", "→"]).is_none() {
            return Err(format!("the other end of the edge from `{from}`"));
        }
        let to = must(at, flow)?;
        return cut(flow, &from, &to);
    }
    loop {
        let id = must(at, flow)?;
        at.eat_any(&["from the workflow", "from the flow", "from workflow"]);
        remove_node(flow, &id)?;
        let before = at.look();
        if !(at.joint() && node(&mut at.look(), flow)?.is_some()) {
            *at = before;
            return Ok(true);
        }
    }
}

/// Removes a node; its neighbours are joined.
fn remove_node(flow: &mut Flow, id: &str) -> Result<(), Problem> {
    let (ins, out) = (flow.to(id), flow.out_of(id));
    if out.len() > 1 && out.iter().any(|edge| edge.condition.is_some()) {
        let ways: Vec<&str> = out.iter().map(|edge| edge.to.as_str()).collect();
        return Err(format!("removing `{id}`: it decides between {}; remove these ways first", ways.join(", ")));
    }
    for edge in ins.iter().chain(&out) {
        flow.remove_edge(&edge.from, &edge.to);
    }
    for before in &ins {
        for after in &out {
            if !flow.edges.iter().any(|edge| edge.from == before.from && edge.to == after.to) {
                flow.add_edge(&before.from, &after.to, before.condition.as_ref())?;
            }
        }
    }
    flow.remove_node(id);
    Ok(())
}

/// `rename X to Y`.
pub(super) fn rename(at: &mut Cursor<'_>, flow: &mut Flow) -> Found {
    if at.eat("rename") {
        let id = must(at, flow)?;
        let to = at.eat_any(&["to", "as", "into"]).is_some();
        let Some(token) = at.peek(0).filter(|token| to && (token.is_word() || token.kind == Kind::Quoted)) else {
            return Err(format!("the new name of `{id}` (as in \"rename {id} to load\")"));
        };
        at.at += 1;
        let new = identifier(&token.raw);
        if flow.node(&new).is_some() {
            return Err(format!("renaming `{id}` to `{new}`: there is one already"));
        }
        flow.rename(&id, &new);
        return Ok(true);
    }
    Ok(false)
}

/// `connect X to Y [when …]`, `disconnect X from Y`.
pub(super) fn connect(at: &mut Cursor<'_>, flow: &mut Flow) -> Found {
    #[rustfmt::skip]
    const CONNECT_WORDS: &[&str] = &[
        "add an edge from", "add edge from", "add a connection from", "draw an edge from", "connect", "link",
        "wire", "hook",
    ];
    if at.eat_any(&["disconnect", "unlink", "detach", "unhook"]).is_some() {
        let from = must(at, flow)?;
        if at.eat_any(&["from", "and"]).is_none() {
            return Err(format!("what `{from}` is to be disconnected from"));
        }
        let to = must(at, flow)?;
        return cut(flow, &from, &to);
    }
    let edge = at.eat_any(CONNECT_WORDS);
    if edge.is_none() {
        return Ok(false);
    }
    at.eat_any(&["the output of", "output of", "up"]);
    let from = must(at, flow)?;
    if at.eat_any(&["to", "with", "into", "and", "->", "→"]).is_none() {
        return Err(format!("what `{from}` is to be connected to"));
    }
    let to = must(at, flow)?;
    let condition = match at.eat_any(&["when", "if", "whenever", "only if", "only when"]) {
        Some(_) => Some(condition::expression(at, flow)?.cel),
        None => None,
    };
    if flow.edges.iter().any(|edge| edge.from == from && edge.to == to) {
        return Err(format!("an edge from `{from}` to `{to}`: there is one already"));
    }
    flow.add_edge(&from, &to, condition.map(Value::from).as_ref())?;
    Ok(true)
}

/// Removes the edge between two nodes, whichever way it goes.
fn cut(flow: &mut Flow, a: &str, b: &str) -> Found {
    let has = |from: &str, to: &str| flow.edges.iter().any(|edge| edge.from == from && edge.to == to);
    let (from, to) = if has(a, b) { (a, b) } else { (b, a) };
    if !has(from, to) {
        return Err(format!("an edge between `{a}` and `{b}` (there is none)"));
    }
    flow.remove_edge(from, to);
    Ok(true)
}
