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
fn after_a_table_a_few_words_go_on_from_it_and_others_do_not() {
    use IntentKind::{Execute, Handoff, Patch, Unclear};
    let columns = ["city".to_owned(), "price".to_owned()];
    let facts = |goes_on| Facts { has_data: true, columns: &columns, goes_on, ..Facts::default() };
    for prompt in [
        "now only those under 500",
        "only those from Berlin",
        "sort them by price",
        "the first five",
        "and by city?",
        "what about Berlin?",
        "just the cheapest one",
        "under 100",
        "without the cancelled ones",
        "now the average per city",
        "same, but descending",
        "which of them is the cheapest?",
        "only the dearest of those",
    ] {
        let intent = classify(prompt, &facts(true));
        assert!(intent.intent == Execute && intent.confidence >= 0.7, "{prompt}: {intent:?}");
    }
    for (prompt, want) in [
        ("now add an email step", Patch),
        ("from now on only those under 500", Patch),
        ("escalate it to a manager", Handoff),
        ("thanks", Unclear),
        ("email it to Bob", Unclear),
        ("I want to talk to someone about those", Handoff),
    ] {
        let intent = classify(prompt, &facts(true));
        let sure = |intent: &Intent| intent.confidence >= 0.7 && intent.intent == Execute;
        assert!(intent.intent == want || (want == Unclear && !sure(&intent)), "{prompt}: {intent:?}");
    }
    let nodes = ["fetch".to_owned()];
    let beside = Facts { has_workflow: true, nodes: &nodes, ..facts(true) };
    assert_ne!(classify("and remove the last one", &beside).confidence, 0.9, "which of the two is meant?");
    assert!(classify("only those from Berlin", &facts(false)).confidence < 0.7, "there is nothing to go on from");
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
