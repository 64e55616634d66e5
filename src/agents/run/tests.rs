use super::*;
use crate::job::{RawJson, Tokens};

const BOUNDS: RunBounds =
    RunBounds { scope: Scope::Network, max_turns: 4, max_in_all: 4, max_handoffs: 3, max_repeats: 3 };

fn seat(agent: &str, doors: &[&str]) -> Seat {
    let door =
        |to: &&str| Door { to: (*to).to_owned(), pool: false, description: String::new(), history: History::Full };
    Seat { agent: agent.into(), doors: doors.iter().map(door).collect(), ..Seat::default() }
}

fn call(id: &str, name: &str, arguments: &'static str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: RawJson::from_trusted(arguments) }
}

fn reply(text: &str, calls: &[ToolCall]) -> Event {
    let (text, calls) = (text.to_owned(), calls.to_vec());
    Event::Replied(ChatReply { text, calls, tokens: Tokens::default(), model: "m".into() })
}

const OFFERED: Action = Action::Ask(Ask { tools: true, summary: false });

#[test]
fn every_call_gets_one_result_in_order_and_the_transfer_comes_last() {
    let calls = [
        call("1", "transfer_to_b", "{}"),
        call("2", "a", "{}"),
        call("3", "Transfer To B", "{}"),
        call("4", "c", "{}"),
    ];
    let mut run = AgentRun::new(BOUNDS, seat("a", &["b"]), "go");
    assert_eq!(run.next(Event::Start), OFFERED);
    assert_eq!(run.next(reply("hm", &calls)), Action::Call(calls[1].clone()));
    assert_eq!(run.next(Event::Called(Ok("3 rows".into()))), Action::Call(calls[3].clone()));
    let failed = JobError::new(ErrorCode::InvalidPipeline, "no such step");
    assert_eq!(run.next(Event::Called(Err(failed))), Action::Seat(Target { to: "b".into(), pool: false }));
    assert_eq!(run.next(Event::Seated(Box::new(seat("b", &["a"])))), OFFERED);
    let told: Vec<(String, String)> = run.history()[2..]
        .iter()
        .map(|message| match message {
            Message::Tool { call_id, content, .. } => (call_id.clone(), content.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let want = [
        ("1", "control is now with b"),
        ("2", "3 rows"),
        ("3", "not done: only the first transfer of a turn is made"),
        ("4", "error: invalid_pipeline: no such step"),
    ];
    assert_eq!(told, want.map(|(id, content)| (id.to_owned(), content.to_owned())));
    assert_eq!(run.next(reply("done", &[])), Action::Finish("done".into()));
    assert_eq!(run.handoffs(), [Handoff { from: "a".into(), to: "b".into(), reason: None, fallback: false }]);
}

#[test]
fn the_state_survives_a_round_trip_through_json_at_every_step() {
    let calls = [call("1", "x", "{\"k\":1.10}"), call("2", "transfer_to_b", "{\"reason\":\"r\"}")];
    let events = || {
        vec![
            Event::Start,
            reply("hm", &calls),
            Event::Called(Ok("x".into())),
            Event::Seated(Box::new(seat("b", &[]))),
            reply("done", &[]),
        ]
    };
    let mut whole = AgentRun::new(BOUNDS, seat("a", &["b"]), "go");
    let mut kept = whole.clone();
    for (one, other) in events().into_iter().zip(events()) {
        let want = whole.next(one);
        assert_eq!(kept.next(other), want);
        kept = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!(kept, whole);
    }
}

#[test]
fn a_transfer_is_a_strict_tool() {
    let mut door = seat("a", &["billing"]).doors.remove(0);
    door.description = "Money and invoices.".into();
    let words = |text: &str| serde_json::json!({"type": "string", "description": text});
    let want = ToolSpec {
        name: "transfer_to_billing".into(),
        description: "Passes control of the conversation to billing. Money and invoices.".into(),
        parameters: serde_json::json!({
            "type": "object",
            "properties": {
                "reason": words("Why control goes there"),
                "message": words("What the next one must know"),
            },
            "required": ["reason", "message"],
            "additionalProperties": false,
        }),
        strict: true,
    };
    assert_eq!(door.spec(), want);
    let run = AgentRun::new(BOUNDS, seat("a", &["b", "c"]), "go");
    let names: Vec<String> = run.transfers().into_iter().map(|spec| spec.name).collect();
    assert_eq!(names, ["transfer_to_b", "transfer_to_c"]);
    let none = AgentRun::new(RunBounds { max_handoffs: 0, ..BOUNDS }, seat("a", &["b"]), "go");
    assert!(none.transfers().is_empty());
}

#[test]
fn what_it_did_not_ask_for_ends_it() {
    let mut run = AgentRun::new(BOUNDS, seat("a", &[]), "go");
    run.next(Event::Start);
    assert!(
        matches!(run.next(Event::Called(Ok(String::new()))), Action::Fail(error) if error.code == ErrorCode::Internal)
    );
}

#[test]
fn calls_beyond_the_bound_of_a_turn_are_answered_and_not_made() {
    let most = crate::settings::limits::MAX_CALLS_PER_TURN;
    let arguments: Vec<RawJson> = (0..40).map(|n| RawJson::of(&serde_json::json!({"n": n}))).collect();
    let mut calls: Vec<ToolCall> = (0..40)
        .zip(arguments)
        .map(|(n, arguments)| ToolCall { id: format!("{n}"), name: "x".into(), arguments })
        .collect();
    // Too late to be taken.
    calls[39].name = "transfer_to_b".into();
    let mut run = AgentRun::new(BOUNDS, seat("a", &["b"]), "go");
    run.next(Event::Start);
    let mut action = run.next(reply("", &calls));
    let mut made = 0;
    while let Action::Call(call) = action {
        assert_eq!(call, calls[made]);
        made += 1;
        action = run.next(Event::Called(Ok("done".into())));
    }
    assert_eq!((made, action), (most, OFFERED));
    assert_eq!(run.take_notes(), [Note::TooMany { agent: "a".into(), asked: 40 }]);
    let told: Vec<bool> = run.history()[2..]
        .iter()
        .map(|message| matches!(message, Message::Tool { content, .. } if content == "done"))
        .collect();
    assert_eq!(told, (0..40).map(|n| n < most).collect::<Vec<_>>(), "one result for each call, in their order");
}

#[test]
fn model_calls_of_delegated_work_count_towards_the_bound() {
    let bounds = RunBounds { max_turns: 9, ..BOUNDS };
    let mut run = AgentRun::new(bounds, seat("a", &[]), "go");
    assert_eq!(run.next(Event::Start), OFFERED);
    run.next(reply("", &[call("1", "x", "{}")]));
    assert_eq!(run.left_in_all(), 3);
    run.count_elsewhere(2);
    assert_eq!(run.next(Event::Called(Ok("done".into()))), Action::Ask(Ask { tools: false, summary: false }));
    assert_eq!((run.turns(), run.model_calls(), run.left_in_all()), (2, 4, 0));
    let Action::Fail(error) = run.next(reply("", &[call("2", "x", "{\"a\":1}")])) else { panic!("it goes on") };
    assert_eq!((error.code, error.details["reason"].as_str()), (ErrorCode::LoopDetected, Some("max_turns")));
    assert!(error.message.contains("within 4 model calls: raise network.max_turns"), "{error}");
}

#[test]
fn a_target_is_found_in_every_spelling_that_can_mean_no_other() {
    let target = |name: &str, doors: &[&str]| {
        let mut run = AgentRun::new(BOUNDS, seat("a", doors), "go");
        run.next(Event::Start);
        match run.next(reply("", &[call("1", name, "{}")])) {
            Action::Seat(target) => Some(target.to),
            // An ordinary tool's.
            Action::Call(_) => Some("(call)".into()),
            // It went back to the model.
            _ => None,
        }
    };
    let doors = ["billing", "data-analyst", "b_c", "bc"];
    for (name, want) in [
        ("transfer-to-billing", Some("billing")),
        ("transferToBilling", Some("billing")),
        ("TransferToBilling", Some("billing")),
        ("transferTobilling", Some("billing")),
        ("TRANSFER_TO_BILLING", Some("billing")),
        ("functions.transfer_to_billing", Some("billing")),
        ("functions.transferToBilling()", Some("billing")),
        ("default_api:transfer_to_billing", Some("billing")),
        ("tools/transfer-to-billing", Some("billing")),
        ("transfer.to.billing", Some("billing")),
        ("transferToDataAnalyst", Some("data-analyst")),
        ("transfer_to_dataanalyst", Some("data-analyst")),
        ("transferToB_C", Some("b_c")),
        ("transfer_to_BC", Some("bc")),
        // Both of them.
        ("transfertobc", Some("(call)")),
        ("transfer tob c", Some("(call)")),
        ("functions.transfer_to_sales", None),
        ("transferToSales", None),
        ("transfer_tokens", Some("(call)")),
        ("transferTokens", Some("(call)")),
        ("billing", Some("(call)")),
        ("functions.billing", Some("(call)")),
    ] {
        assert_eq!(target(name, &doors).as_deref(), want, "{name}");
    }
    assert_eq!(target("transferToBilling", &[]).as_deref(), Some("(call)"));
}

#[test]
fn a_name_that_two_targets_may_have_written_is_none_of_them() {
    let mut run = AgentRun::new(BOUNDS, seat("a", &["b_c", "b__c"]), "go");
    let target = |action: Action| match action {
        Action::Seat(target) => Some(target.to),
        _ => None,
    };
    run.next(Event::Start);
    assert_eq!(target(run.clone().next(reply("", &[call("1", "transfer_to_b__c", "{}")]))), Some("b__c".into()));
    assert_eq!(target(run.clone().next(reply("", &[call("1", "transfer_to_b_c", "{}")]))), Some("b_c".into()));
    assert_eq!(run.next(reply("", &[call("1", "transfer to b-c", "{}")])), OFFERED);
    assert!(matches!(run.history().last(), Some(Message::Tool { content, .. }) if content.contains("call one of")));
}
