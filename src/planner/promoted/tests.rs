//! Rows of what was asked and planned, and what a sentence means after that.

use super::*;

const COLUMNS: &str = "airline:text\nprice:number\nstops:number\n";

fn limits() -> Limits {
    Limits::from(&crate::settings::Pipeline::default())
}

fn run(n: usize, prompt: &str, steps: &str) -> Run {
    let arguments = RawJson::from_trusted(format!("{{\"pipeline\":{steps}}}"));
    lesson(&format!("j{n}"), prompt, COLUMNS, &arguments, &limits()).unwrap_or_else(|| panic!("{prompt}: {steps}"))
}

fn filter(field: &str, op: &str, value: &str) -> String {
    format!(r#"[{{"step":"table_filter","condition":{{"field":"{field}","op":"{op}","value":{value}}}}}]"#)
}

fn below(price: &str) -> String {
    filter("price", "<", price)
}

fn top(k: u32) -> String {
    format!(r#"[{{"step":"top_k","by":"price","k":{k}}}]"#)
}

fn catalogue(asked: &[(&str, String)]) -> Catalogue {
    let runs: Vec<Run> = asked.iter().enumerate().map(|(n, (prompt, steps))| run(n, prompt, steps)).collect();
    Catalogue::of(&runs, &BTreeSet::new())
}

/// What `prompt` means: the steps, `-` for nothing known, `?` for more than one plan.
fn meaning(catalogue: &Catalogue, prompt: &str, columns: &str) -> String {
    match catalogue.find(prompt, columns) {
        Match::Nothing => "-".into(),
        Match::Several => "?".into(),
        Match::One(found) => canonical(&found.steps.to_value().unwrap()),
    }
}

#[track_caller]
fn check(asked: &[(&str, String)], then: &[(&str, &str)]) {
    let catalogue = catalogue(asked);
    for (prompt, want) in then {
        let want = match *want {
            "-" | "?" => (*want).to_owned(),
            steps => canonical(&serde_json::from_str(steps).unwrap()),
        };
        assert_eq!(meaning(&catalogue, prompt, COLUMNS), want, "{prompt:?} after {asked:?}");
    }
}

#[test]
fn the_same_sentence_twice_is_known_and_nothing_near_it() {
    let asked = [("flights under 300", below("300")), ("flights under 300", below("300"))];
    check(
        &asked,
        &[
            ("flights under 300", &below("300")),
            ("  flights  under 300. ", &below("300")),
            ("flights under 301", "-"),
            ("Flights under 300", "-"),
            ("flights under 300 km", "-"),
            ("flights over 300", "-"),
            ("flights under", "-"),
            ("", "-"),
        ],
    );
    assert_eq!(meaning(&catalogue(&asked), "flights under 300", "price:text\n"), "-", "over other columns");
    check(&asked[..1], &[("flights under 300", "-")]);
}

#[test]
fn a_number_that_varied_is_a_parameter_and_its_place_takes_numbers_only() {
    let asked = [("flights under $300, please", below("300")), ("flights under $500, please", below("500"))];
    check(
        &asked,
        &[
            ("flights under $700, please", &below("700")),
            ("flights under $0.50, please", &below("0.50")),
            ("flights under $-5, please", &below("-5")),
            ("flights under €700, please", "-"),
            ("flights under $seven, please", "-"),
            ("flights under $700 please", "-"),
            ("flights under $1,000, please", "-"),
            ("flights under $007, please", "-"),
            ("flights under $price, please", "-"),
        ],
    );
    let catalogue = catalogue(&asked);
    let tool = &catalogue.tools()[0];
    assert_eq!(tool.parameters[0].name, "price_below");
    assert_eq!(tool.parameters[0].schema, json!({"type": "number"}));
    assert_eq!(tool.wordings, ["flights under $ [number] , please"]);
    let Match::One(found) = catalogue.find("flights under $700, please", COLUMNS) else { panic!("not found") };
    assert_eq!(Value::from(found.arguments), json!({"price_below": 700}));
}

#[test]
fn words_in_a_place_for_text_are_those_seen_or_quoted() {
    let by = |airline: &str| filter("airline", "==", &format!("\"{airline}\""));
    check(
        &[("flights by Delta", by("Delta")), ("flights by United", by("United"))],
        &[("flights by Delta", &by("Delta")), ("flights by price", "-"), ("flights by Iberia", "-")],
    );
    check(
        &[("flights by 'Delta'", by("Delta")), ("flights by 'Air France'", by("Air France"))],
        &[("flights by 'Iberia'", &by("Iberia")), ("flights by Iberia", "-"), ("flights by 'a\\'", &by("a\\\\"))],
    );
}

#[test]
fn what_is_not_in_the_words_must_not_change_with_time() {
    // (prompt, plan of two equal runs, whether the sentence is known then)
    let rows = [
        ("the cheapest flight", top(1), true),
        ("the ten cheapest flights", top(10), true),
        ("cancelled flights", filter("airline", "==", "\"Cancelled\""), true),
        ("unpaid ones", filter("airline", "==", "\"open\""), true),
        ("flights of today", filter("airline", "==", "\"2026-11-20\""), false),
        ("flights of this year", filter("price", ">=", "2026"), false),
        ("flights of this month", filter("airline", "==", "\"November\""), false),
        ("flights of this weekend", filter("airline", "in", "[\"Sat\",\"Sun\"]"), false),
        ("cheap flights", below("200"), false),
        ("flights with 1 or 2 stops", filter("stops", "in", "[1,2]"), true),
        ("flights with a stop or two", filter("stops", "in", "[1,2]"), false),
        ("flights by Air France", filter("airline", "==", "\"air france\""), true),
        ("price with tax", r#"[{"step":"derive","as":"gross","expr":"price * 1.19"}]"#.to_owned(), false),
        ("price times 1.19", r#"[{"step":"derive","as":"gross","expr":"price * 1.19"}]"#.to_owned(), true),
        ("due in 2025", r#"[{"step":"derive","as":"late","expr":"year == 2026"}]"#.to_owned(), false),
    ];
    for (prompt, plan, known) in rows {
        let asked = [(prompt, plan.clone()), (prompt, plan.clone())];
        check(&asked, &[(prompt, if known { &plan } else { "-" })]);
        assert_eq!(catalogue(&asked).tools().len(), 1, "{prompt}: it is a tool all the same");
    }
}

#[test]
fn a_difference_that_cannot_be_placed_is_no_wording() {
    let both = |k: u32, price: &str| {
        format!(
            r#"[{{"step":"table_filter","condition":{{"field":"price","op":"<","value":{price}}}}},{{"step":"slice","limit":{k}}}]"#
        )
    };
    // Which of the two words is which nobody knows.
    let unclear = [("top 5 under 5", both(5, "5")), ("top 7 under 7", both(7, "7"))];
    check(&unclear, &[("top 9 under 9", "-"), ("top 5 under 7", "-"), ("top 5 under 5", "-")]);
    check(&[("top 5 under 5", both(5, "5")), ("top 7 under 8", both(7, "8"))], &[("top 2 under 3", &both(2, "3"))]);
    // A word that differs and changes nothing in the plan may be all the difference.
    check(&[("flights under 5", below("5")), ("trains under 5", below("5"))], &[("flights under 5", "-")]);
    check(&[("top ten", top(10)), ("top five", top(5))], &[("top ten", "-"), ("top two", "-")]);
    // A column that is called like the number.
    let asked = [("under 300", below("300")), ("under 500", below("500"))];
    let runs: Vec<Run> = asked
        .iter()
        .enumerate()
        .map(|(n, (prompt, steps))| Run { columns: "700:number\nprice:number\n".into(), ..run(n, prompt, steps) })
        .collect();
    let tools = Catalogue::of(&runs, &BTreeSet::new());
    assert_eq!(meaning(&tools, "under 700", "700:number\nprice:number\n"), "-");
    assert_ne!(meaning(&tools, "under 701", "700:number\nprice:number\n"), "-");
}

#[test]
fn a_run_that_says_otherwise_withdraws_the_wording() {
    let mut asked = vec![("cheap ones", top(3)), ("cheap ones", top(3))];
    check(&asked, &[("cheap ones", &top(3))]);
    asked.push(("cheap ones", filter("airline", "==", "\"cheap\"")));
    check(&asked, &[("cheap ones", "-")]);
    // Even where the other plan is repeated as well.
    asked.push(("cheap ones", filter("airline", "==", "\"cheap\"")));
    check(&asked, &[("cheap ones", "-")]);
    // The same shape with another value contradicts too.
    check(&[("few", top(3)), ("few", top(3)), ("few", top(4))], &[("few", "-")]);
}

#[test]
fn what_is_switched_off_is_listed_and_never_used() {
    let asked = [("cheap ones", top(3)), ("cheap ones", top(3))];
    let name = catalogue(&asked).tools()[0].name.clone();
    let runs: Vec<Run> = asked.iter().enumerate().map(|(n, (prompt, steps))| run(n, prompt, steps)).collect();
    let off = Catalogue::of(&runs, &BTreeSet::from([name.clone()]));
    assert_eq!((off.find("cheap ones", COLUMNS), off.search("cheap").len()), (Match::Nothing, 0));
    assert!(!off.tool(&name).unwrap().enabled);
}

#[test]
fn only_plans_that_can_be_asked_for_again_are_learned() {
    let learned = |arguments: &str| {
        lesson("j", "p", COLUMNS, &RawJson::from_trusted(arguments.to_owned().into_bytes()), &limits()).is_some()
    };
    let get = r#"{"pipeline":[{"step":"http_request","url":"https://a.b/c","params":{"q":"x"}}]}"#;
    for (arguments, want) in [
        (get.to_owned(), true),
        (r#"{"pipeline":[{"top_k":{"k":3}}]}"#.into(), true),
        (get.replace("\"params\"", "\"method\":\"POST\",\"params\""), false),
        (get.replace("\"params\"", "\"headers\":{\"x-key\":\"s\"},\"params\""), false),
        (r#"{"pipeline":[{"step":"top_k","k":3}],"input_ref":"artifact://1"}"#.into(), false),
        (r#"{"pipeline":[{"step":"union","with":{"input_ref":"artifact://1"}}]}"#.into(), false),
        (r#"{"pipeline":[{"step":"top_kk","k":3}]}"#.into(), false),
        (r#"{"shortened":"{\"pipeline\":[","bytes":9000}"#.into(), false),
        (format!(r#"{{"pipeline":[{{"step":"literal","rows":[{{"a":"{}"}}]}}]}}"#, "x".repeat(3000)), false),
        ("[]".into(), false),
    ] {
        assert_eq!(learned(&arguments), want, "{arguments}");
    }
    let long = "x".repeat(600);
    assert!(lesson("j", &long, "", &RawJson::from_trusted(get), &limits()).is_none());
    assert!(lesson("j", " ", "", &RawJson::from_trusted(get), &limits()).is_none());
}

#[test]
fn a_planner_calls_it_by_name_and_is_told_what_it_takes() {
    let catalogue = catalogue(&[("flights under 300", below("300")), ("flights under 500", below("500"))]);
    let found = catalogue.search("flights below a price");
    let tool = found.first().unwrap();
    let call = |arguments: Value| tool.call(arguments.as_object().unwrap());
    assert_eq!(
        canonical(&call(json!({"price_below": 700})).unwrap().steps.to_value().unwrap()),
        canonical(&serde_json::from_str(&below("700")).unwrap())
    );
    for (arguments, part) in [
        (json!({}), "\"price_below\" is missing"),
        (json!({"price_below": "700"}), "does not take \"700\""),
        (json!({"price_below": 1, "k": 2}), "no parameter \"k\""),
    ] {
        let error = call(arguments).unwrap_err();
        assert!(error.message.contains(part) && error.message.contains("\"number\""), "{}", error.message);
    }
    assert!(catalogue.search("zzz qqq").is_empty());
}

#[test]
fn names_are_plain_and_the_same_wherever_the_shape_is_seen() {
    let one = catalogue(&[("a 1", below("1")), ("a 2", below("2"))]);
    let other = catalogue(&[("quite another sentence 7", below("7")), ("x", below("8"))]);
    let name = &one.tools()[0].name;
    assert_eq!(name, &other.tools()[0].name);
    assert!(name.starts_with("filter_price_below_") && name.len() <= 64, "{name}");
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
}
