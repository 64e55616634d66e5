use super::*;

fn kind(prompt: &str) -> IntentKind {
    classify(prompt, &Facts::default()).intent
}

#[test]
fn the_same_verb_means_data_or_workflow_by_its_object() {
    use IntentKind::{Execute, Patch};
    for (prompt, want) in [
        ("add up the prices", Execute),
        ("add a step that adds up the prices", Patch),
        ("remove duplicates", Execute),
        ("remove the email step", Patch),
        ("rename the column qty to quantity", Execute),
        ("rename the fetch node to load", Patch),
        ("merge the two tables", Execute),
        ("merge the two notification steps", Patch),
        ("drop the price column", Execute),
        ("drop the edge between a and b", Patch),
        ("filter the rows over 500", Execute),
        ("insert a filter after the download", Patch),
        ("list all steps with more than 3 errors in the log table", Execute),
    ] {
        assert_eq!(kind(prompt), want, "{prompt}");
    }
}

#[test]
fn permanence_turns_a_table_operation_into_a_change() {
    use IntentKind::{Execute, Patch};
    for (prompt, want) in [
        ("sort the orders by price", Execute),
        ("from now on sort the orders by price", Patch),
        ("show the daily revenue", Execute),
        ("send the revenue daily", Patch),
        ("average sales for each day", Execute),
        ("each day, add up the sales", Patch),
        ("when did the first order arrive?", Execute),
        ("when an order arrives, notify sales", Patch),
        ("just once, count the rows", Execute),
        ("once the import is done, count the rows", Patch),
    ] {
        assert_eq!(kind(prompt), want, "{prompt}");
    }
}

#[test]
fn negations_keep_what_they_negate() {
    use IntentKind::{Execute, Patch};
    for (prompt, want) in [
        ("don't change the workflow, just show me the top 3", Execute),
        ("without touching any step, count the orders", Execute),
        ("don't email customers on Sundays anymore", Patch),
        ("stop sending the weekly report", Patch),
    ] {
        assert_eq!(kind(prompt), want, "{prompt}");
    }
}

#[test]
fn people_and_troubles_go_to_agents_unless_an_event_calls_them() {
    use IntentKind::{Execute, Handoff, Patch};
    for (prompt, want) in [
        ("ask the sales team", Handoff),
        ("I want a refund, talk to someone", Handoff),
        ("show me the sales figures", Execute),
        ("whenever a refund comes in, escalate it to support", Patch),
        ("show the agents with the most closed tickets", Execute),
        ("add an agent node after fetch", Patch),
    ] {
        assert_eq!(kind(prompt), want, "{prompt}");
    }
}

#[test]
fn what_says_nothing_is_unclear_and_never_sure() {
    for prompt in ["process the data", "fix it", "do something with this", "", "hello", "make it better", "?!", "42"] {
        let found = classify(prompt, &Facts::default());
        assert_eq!(found.intent, IntentKind::Unclear, "{prompt}: {}", found.reasoning);
        assert!(found.confidence < 0.7, "{prompt}");
    }
}

#[test]
fn the_reasoning_names_the_cues() {
    let found = classify("whenever the price drops below 500, email ops", &Facts::default());
    assert_eq!(
        found.reasoning,
        "a lasting workflow change: the prompt has an event that may recur, an action that follows an event and an action on the world."
    );
    assert!(found.confidence >= 0.7 && found.source == IntentSource::Rules);
}
