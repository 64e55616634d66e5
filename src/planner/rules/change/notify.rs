//! Telling people: `whenever the price drops below 500, email ops`, and approvals.

use serde_json::{Map, Value, json};

use super::{
    condition::{self, Event},
    edit::{Found, Place, attach, place},
    flow::{Flow, identifier},
    nodes::{must, node},
};
use crate::planner::rules::{
    cursor::{Cursor, Problem},
    lex::Kind,
    names,
};

#[rustfmt::skip]
const EVENTS: &[&str] = &[
    "whenever", "every time that", "every time", "each time", "any time", "anytime", "as soon as", "when", "if",
    "once", "in case", "the moment", "only when", "only if", "from now on when", "from now on whenever",
    "from now on , whenever", "from now on if",
];

const VERBS: &[(&str, &str)] = &[
    ("email", "email"),
    ("mail", "email"),
    ("e-mail", "email"),
    ("send an email to", "email"),
    ("send an e-mail to", "email"),
    ("send email to", "email"),
    ("send a mail to", "email"),
    ("send a slack message to", "slack"),
    ("send a message to", "message"),
    ("send a notification to", "notification"),
    ("send an alert to", "alert"),
    ("send a text to", "sms"),
    ("send an sms to", "sms"),
    ("notify", "notification"),
    ("inform", "notification"),
    ("alert", "alert"),
    ("message", "message"),
    ("ping", "message"),
    ("text", "sms"),
    ("page", "page"),
    ("post to", "message"),
    ("post a message to", "message"),
    ("call", "call"),
];

/// What is told to whom.
struct Notice {
    channel: &'static str,
    to: String,
    message: Option<String>,
}

impl Notice {
    fn node(&self, flow: &Flow) -> (String, Map<String, Value>) {
        let id = flow.free_id(&format!(
            "notify_{}",
            identifier(self.to.trim_start_matches(['#', '@']).split('@').next().unwrap_or(&self.to))
        ));
        (id, config(self.channel, Some(&self.to), self.message.as_deref()))
    }
}

/// The config of a node that tells somebody something.
fn config(channel: &str, to: Option<&str>, message: Option<&str>) -> Map<String, Value> {
    let mut args = Map::from_iter([("channel".to_owned(), json!(channel))]);
    args.extend(to.map(|to| ("to".to_owned(), json!(to))));
    args.extend(message.map(|message| ("message".to_owned(), json!(message))));
    Map::from_iter([("function".to_owned(), json!("notify")), ("args".to_owned(), args.into())])
}

/// `whenever <condition>, email ops` and `email ops whenever <condition>`; `after fetch, email ops`.
pub(super) fn notify(at: &mut Cursor<'_>, flow: &mut Flow, own: Option<&str>) -> Found {
    let start = at.look();
    if at.eat_any(EVENTS).is_some() {
        if let Some(id) = finished(at, flow)? {
            at.eat_any(&[", then", ",", "then"]);
            return after(at, flow, &id);
        }
        return event_first(at, flow, None, own);
    }
    if let Some(spot) = place_first(at, flow)? {
        return event_first(at, flow, Some(spot), own);
    }
    if at.eat("after")
        && node(at, flow)?.is_some()
        && at.eat_any(&[", then", ","]).is_some()
        && notice(&mut at.look()).is_some()
    {
        *at = start;
        at.eat("after");
        let id = must(at, flow)?;
        at.eat_any(&[", then", ","]);
        return after(at, flow, &id);
    }
    *at = start;
    let Some(notice) = notice(at) else {
        *at = start;
        return Ok(false);
    };
    let spot = place(at, flow)?;
    at.eat(",");
    if at.eat_any(EVENTS).is_some() {
        if let Some(id) = finished(at, flow)? {
            return append(flow, &notice, &id);
        }
        let event = condition::expression(at, flow)?;
        let spot = match spot {
            None => place(at, flow)?,
            spot => spot,
        };
        return build(flow, &event, &notice, spot, own);
    }
    match spot {
        Some(Place::After(id)) => append(flow, &notice, &id),
        Some(place) => {
            let (id, config) = notice.node(flow);
            flow.add_node(&id, "function", config);
            attach(flow, &id, &place)?;
            Ok(true)
        }
        None => Err(format!("when to tell {} (say \"whenever the price drops below 500\" or \"after X\")", notice.to)),
    }
}

/// `after fetch, whenever`: the place, where an event follows it.
fn place_first(at: &mut Cursor<'_>, flow: &Flow) -> Result<Option<Place>, Problem> {
    let start = at.look();
    if at.eat("after")
        && let Ok(Some(id)) = node(at, flow)
        && at.eat_any(&[", then", ","]).is_some()
        && at.eat_any(EVENTS).is_some()
    {
        return Ok(Some(Place::After(id)));
    }
    *at = start;
    Ok(None)
}

/// `the price drops below 500 [after fetch], email ops`, behind the word for the event.
fn event_first(at: &mut Cursor<'_>, flow: &mut Flow, spot: Option<Place>, own: Option<&str>) -> Found {
    let event = condition::expression(at, flow)?;
    let behind = |at: &mut Cursor<'_>, spot, flow: &Flow| match spot {
        None => place(at, flow),
        spot => Ok(spot),
    };
    let spot = behind(at, spot, flow)?;
    at.eat_any(&[", then", ",", "then"]);
    at.eat_any(&["please", "automatically", "always"]);
    let Some(notice) = notice(at) else { return Err(action(at)) };
    let spot = behind(at, spot, flow)?;
    build(flow, &event, &notice, spot, own)
}

/// "fetch finishes", "fetch is done": the node that ends.
fn finished(at: &mut Cursor<'_>, flow: &Flow) -> Result<Option<String>, Problem> {
    let start = at.look();
    let found = node(&mut at.look(), flow).ok().flatten();
    if let Some(id) = found {
        node(at, flow)?;
        at.eat_any(&["has", "is"]);
        if at
            .eat_any(&["finishes", "finished", "completes", "completed", "done", "ends", "ended", "succeeds"])
            .is_some()
        {
            return Ok(Some(id));
        }
    }
    *at = start;
    Ok(None)
}

fn after(at: &mut Cursor<'_>, flow: &mut Flow, id: &str) -> Found {
    let Some(notice) = notice(at) else { return Err(action(at)) };
    append(flow, &notice, id)
}

/// A notice behind a node, beside whatever else follows it.
fn append(flow: &mut Flow, notice: &Notice, after: &str) -> Found {
    let (id, config) = notice.node(flow);
    if flow.node(after).is_some_and(|node| node.kind == "conditional") {
        return Err(format!("which way out of the conditional `{after}` tells {} (say \"when …\")", notice.to));
    }
    flow.add_node(&id, "function", config);
    flow.add_edge(after, &id, None)?;
    Ok(true)
}

/// A conditional behind the place, and the notice behind that.
fn build(flow: &mut Flow, event: &Event, notice: &Notice, spot: Option<Place>, own: Option<&str>) -> Found {
    let anchor = match (spot, &event.node) {
        (Some(Place::After(id)), _) => id,
        (Some(_), _) => return Err("the place of the check (say \"after X\")".into()),
        (None, Some(id)) => id.clone(),
        (None, None) => giver(flow, event, own)?,
    };
    flow.notes.extend(event.notes.iter().cloned());
    let check = flow.free_id(&format!("check_{}", identifier(&event.field.replace('.', "_"))));
    flow.add_node(&check, "conditional", Map::new());
    let (id, config) = notice.node(flow);
    flow.add_node(&id, "function", config);
    flow.add_edge(&anchor, &check, None)?;
    flow.add_edge(&check, &id, Some(&json!(event.cel)))?;
    Ok(true)
}

/// The node whose output is looked at, where that was not said: the job's own, one that is named like the field, or the
/// last one, which is told.
fn giver(flow: &mut Flow, event: &Event, own: Option<&str>) -> Result<String, Problem> {
    if flow.nodes.is_empty() {
        return Err(format!(
            "where `{}` comes from: the workflow has no nodes (first \"add an http node called fetch with url https://…\")",
            event.field
        ));
    }
    if let Some(id) = own.filter(|id| flow.node(id).is_some()) {
        return Ok(id.to_owned());
    }
    if let Some(node) = flow.gives(&names::words(&event.field)) {
        return Ok(node.id.clone());
    }
    let Some(last) = flow.last().map(|node| node.id.clone()) else {
        return Err("after which node to check (add \"after X\")".into());
    };
    flow.notes.push(format!(
        "no node is named like `{}`: its value is looked for in the output of the last node, {last} (say \"after X\" for another)",
        event.field
    ));
    Ok(last)
}

/// `email ops`, `notify #alerts on Slack with "too cheap"`.
fn notice(at: &mut Cursor<'_>) -> Option<Notice> {
    let mut channel = at.eat_key(VERBS)?;
    at.articles();
    let token = at.peek(0).filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))?;
    if ["when", "whenever", "if", "after", "before", "node", "step", "once"].contains(&&*token.text) {
        return None;
    }
    at.at += 1;
    let mut to = token.raw.clone();
    if matches!(&*token.text, "slack" | "teams" | "discord" | "telegram") && channel == "message"
        || matches!(&*token.text, "slack")
    {
        channel = CHANNELS.iter().find(|(name, _)| *name == token.text).map_or(channel, |(_, channel)| channel);
    }
    if at.eat_any(&["team", "channel", "department"]).is_some() && to.eq_ignore_ascii_case("the") {
        to = "team".into();
    }
    let via = at.look();
    if at.eat_any(&["on", "via", "by", "through", "in", "over"]).is_some() {
        match CHANNELS.iter().find(|(name, _)| at.word(0) == *name) {
            Some((_, known)) => {
                channel = known;
                at.at += 1;
            }
            None => *at = via,
        }
    }
    let before = at.look();
    let quoted = at.eat_any(&["with the message", "with message", "with", "saying", "that", ":"]).is_some();
    let message = at.peek(0).filter(|token| quoted && token.kind == Kind::Quoted).map(|token| token.raw.clone());
    match &message {
        Some(_) => at.at += 1,
        None => *at = before,
    }
    Some(Notice { channel, to, message })
}

const CHANNELS: &[(&str, &str)] = &[
    ("slack", "slack"),
    ("email", "email"),
    ("mail", "email"),
    ("sms", "sms"),
    ("text", "sms"),
    ("teams", "teams"),
    ("discord", "discord"),
    ("telegram", "telegram"),
    ("pagerduty", "pagerduty"),
];

/// A base for the id of a new node, and its config.
type Described = (String, Map<String, Value>);

/// `email notification to ops`, `slack message`: a notice as a thing to add; its base name and config.
pub(super) fn described(at: &mut Cursor<'_>) -> Result<Option<Described>, Problem> {
    let start = at.look();
    let channel = at.eat_key(CHANNELS);
    let noun = at.eat_any(&["notification", "message", "alert", "reminder", "email", "mail"]);
    let node = at.eat_any(&["node", "step"]).is_some();
    let Some(channel) = channel.or(noun.map(|_| "notification")).filter(|_| noun.is_some() || node) else {
        *at = start;
        return Ok(None);
    };
    let mut to = None;
    if at.eat_any(&["to", "for"]).is_some() {
        at.articles();
        let Some(token) = at.peek(0).filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted)) else {
            return Err("whom to notify".into());
        };
        to = Some(token.raw.as_str());
        at.at += 1;
        at.eat("team");
    }
    let base = if channel == "notification" { "notify".to_owned() } else { format!("notify_{channel}") };
    Ok(Some((base, config(channel, to, None))))
}

/// `require approval [by legal] before publish`, `ask a manager for approval before publish`.
pub(super) fn approval(at: &mut Cursor<'_>, flow: &mut Flow) -> Found {
    let start = at.look();
    #[rustfmt::skip]
    const NOUNS: &[&str] = &[
        "manual approval", "human approval", "approval", "sign-off", "sign off", "human review", "manual review",
        "confirmation", "permission",
    ];
    let mut who = None;
    let asked = if at
        .eat_any(&["require", "demand", "request", "need", "get", "wait for", "ask for", "add", "insert", "put"])
        .is_some()
    {
        at.articles();
        at.eat_any(NOUNS).is_some()
    } else if at.eat("ask") {
        who = name(at);
        at.eat("for") && at.eat_any(NOUNS).is_some()
    } else {
        false
    };
    if !asked {
        *at = start;
        return needed(at, flow, NOUNS);
    }
    at.eat_any(&["step", "node", "gate"]);
    if at.eat_any(&["from", "by", "of"]).is_some() {
        who = name(at);
    }
    let before = at.eat_any(&["before", "for", "prior to", "ahead of"]).is_some();
    if !before {
        *at = start;
        return if start.sees("add") || start.sees("insert") || start.sees("put") {
            Ok(false)
        } else {
            Err("what needs the approval (say \"before X\")".into())
        };
    }
    let target = must(at, flow)?;
    at.eat_any(&["runs", "starts", "is executed", "executes", "is run"]);
    approve(flow, &target, who)
}

/// A person's decision in front of a node.
fn approve(flow: &mut Flow, target: &str, who: Option<String>) -> Found {
    let id = flow.free_id(&format!("approve_{target}"));
    let mut config = Map::from_iter([("message".to_owned(), json!(format!("Approve {target}?")))]);
    if let Some(who) = who {
        config.insert("approver".into(), who.into());
    }
    flow.add_node(&id, "hitl", config);
    attach(flow, &id, &Place::Before(target.into()))?;
    Ok(true)
}

/// `pay needs approval by legal`.
fn needed(at: &mut Cursor<'_>, flow: &mut Flow, nouns: &[&'static str]) -> Found {
    let start = at.look();
    let target = node(&mut at.look(), flow).ok().flatten();
    if let Some(target) = target {
        node(at, flow)?;
        if at.eat_any(&["needs", "requires", "must have", "should have"]).is_some() {
            at.articles();
            if at.eat_any(nouns).is_some() {
                let who = if at.eat_any(&["from", "by", "of"]).is_some() { name(at) } else { None };
                return approve(flow, &target, who);
            }
        }
    }
    *at = start;
    Ok(false)
}

fn name(at: &mut Cursor<'_>) -> Option<String> {
    at.articles();
    let token = at.peek(0).filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))?;
    at.at += 1;
    at.eat("team");
    Some(token.raw.clone())
}

fn action(at: &Cursor<'_>) -> Problem {
    let words: Vec<&str> = at.rest().iter().take(6).map(|token| token.raw.as_str()).collect();
    format!("the action \"{}\" (say whom to tell, as in \"email ops\")", words.join(" "))
}
