use super::*;
use ErrorCode::InvalidPipeline;

#[test]
fn rename_and_drop() {
    let row = r#"[{"a":1.10,"b":2,"c":3}]"#;
    expect(&[
        (row, r#"[{"step":"rename","columns":{"a":"x"}}]"#, r#"[{"x":1.10,"b":2,"c":3}]"#),
        (row, r#"[{"step":"rename","columns":{"a":"b"}}]"#, r#"[{"b":1.10,"c":3}]"#),
        (row, r#"[{"step":"rename","columns":{"a":"b","b":"a"}}]"#, r#"[{"b":1.10,"a":2,"c":3}]"#),
        (row, r#"[{"step":"drop","fields":["a","c"]}]"#, r#"[{"b":2}]"#),
        (row, r#"[{"step":"drop","fields":["a","b","c"]}]"#, "[{}]"),
        (r#"[{"caf\u00e9":1,"b":2}]"#, r#"[{"step":"drop","fields":"café"}]"#, r#"[{"b":2}]"#),
    ]);
    expect_errors(&[
        (
            row,
            r#"[{"step":"rename","columns":{"z":"x"}}]"#,
            InvalidPipeline,
            "step 1 rename: no column 'z'; there are a, b, c",
        ),
        (
            row,
            r#"[{"step":"rename","columns":{"a":"x","b":"x"}}]"#,
            InvalidPipeline,
            "step 1 rename: two columns would be named 'x'",
        ),
    ]);
}

#[test]
fn derive() {
    let row = r#"[{"price":250,"tax":1.1,"name":"Oslo","seats":{"economy":3},"tags":["a","b"],"big":9007199254740993,"n":null}]"#;
    for (expr, expected) in [
        ("price * 2", "500"),
        ("row.price * 2", "500"),
        ("price * 1.5", "375"),
        ("2 * tax", "2.2"),
        ("tax * 3", "3.3"),
        ("price / 7", "35"),
        ("price / 4.0", "62.5"),
        ("price % 7", "5"),
        ("-price", "-250"),
        ("price > 200 ? \"high\" : \"low\"", r#""high""#),
        ("name + \"!\"", r#""Oslo!""#),
        ("name + \" \" + string(price)", r#""Oslo 250""#),
        ("seats.economy + 1", "4"),
        ("row.seats.economy", "3"),
        ("row[\"price\"]", "250"),
        ("size(tags)", "2"),
        ("tags.exists(t, t == \"b\")", "true"),
        ("tags.map(t, t + \"!\")", r#"["a!","b!"]"#),
        ("tags.join(\"-\")", r#""a-b""#),
        ("name.lowerAscii().replace(\"o\", \"0\")", r#""0sl0""#),
        ("name.startsWith(\"Os\")", "true"),
        ("missing == null", "true"),
        ("row.missing == null", "true"),
        ("seats.business == null", "true"),
        ("has(row.price)", "true"),
        ("has(row.missing)", "false"),
        ("n == null ? 0 : n", "0"),
        ("tax", "1.1"),
        ("big", "9007199254740993"),
        ("big + 1", "9007199254740994"),
        ("[price, tax]", "[250,1.1]"),
        ("{\"b\": 1, \"a\": price}", r#"{"a":250,"b":1}"#),
        (
            "row",
            r#"{"big":9007199254740993,"n":null,"name":"Oslo","price":250,"seats":{"economy":3},"tags":["a","b"],"tax":1.1}"#,
        ),
        ("math.greatest(price, 300)", "300"),
    ] {
        let expr = serde_json::Value::from(expr);
        let steps = format!(r#"[{{"step":"derive","as":"r","expr":{expr}}},{{"step":"table_select","fields":["r"]}}]"#);
        let body = json_body(row);
        let plan = Plan::parse(&RawJson::from_trusted(steps), &Limits::default()).unwrap();
        let output = run(&plan, Some(&body), &Inputs::default(), &Limits::default(), &Control::default()).unwrap();
        assert_eq!(output.data.as_str(), format!(r#"[{{"r":{expected}}}]"#), "{expr}: {:?}", output.warnings);
    }
}

#[test]
fn derive_sets_a_column_in_its_place_or_at_the_end() {
    expect(&[
        (r#"[{"a":1 ,"b":1.10 }]"#, r#"[{"step":"derive","as":"c","expr":"a + 1"}]"#, r#"[{"a":1 ,"b":1.10,"c":2}]"#),
        (r#"[{"a":1,"b":1.10}]"#, r#"[{"step":"derive","as":"a","expr":"a + 1"}]"#, r#"[{"a":2,"b":1.10}]"#),
        ("[{}]", r#"[{"step":"derive","as":"c","expr":"1"}]"#, r#"[{"c":1}]"#),
    ]);
}

#[test]
fn a_row_where_the_expression_fails_gets_null_and_a_warning() {
    let output = pipeline(
        r#"[{"a":1},{"a":"x"},{"a":0},{"a":9223372036854775807}]"#,
        r#"[{"step":"derive","as":"b","expr":"10 / a * a + 1"}]"#,
    )
    .unwrap();
    assert_eq!(
        output.data.as_str(),
        r#"[{"a":1,"b":11},{"a":"x","b":null},{"a":0,"b":null},{"a":9223372036854775807,"b":1}]"#
    );
    assert_eq!(output.warnings, ["step 1 derive: 'b' is null in 2 rows: int / string is not defined"]);
}

#[test]
fn a_whole_number_beyond_64_bits_is_never_rounded() {
    let row = r#"[{"a":18446744073709551616,"o":{"a":[-9223372036854775809]},"b":9223372036854775807}]"#;
    for (expr, expected, found) in [
        ("a", "18446744073709551616", None),
        ("has(row.a)", "true", None),
        ("b - 1", "9223372036854775806", None),
        ("a + 1", "null", Some("18446744073709551616")),
        ("a == 0", "null", Some("18446744073709551616")),
        ("size(o.a)", "null", Some("-9223372036854775809")),
        ("b > 0 ? 1 : a", "1", None),
    ] {
        let steps =
            format!(r#"[{{"step":"derive","as":"r","expr":"{expr}"}},{{"step":"table_select","fields":["r"]}}]"#);
        let output = pipeline(row, &steps).unwrap();
        assert_eq!(output.data.as_str(), format!(r#"[{{"r":{expected}}}]"#), "{expr}");
        let warnings: Vec<String> = found
            .map(|found| {
                let why = format!("{found} does not fit 64 bits: an expression cannot keep its digits");
                format!("step 1 derive: 'r' is null in 1 row: {why}")
            })
            .into_iter()
            .collect();
        assert_eq!(output.warnings, warnings, "{expr}");
    }
}

#[test]
fn bad_expressions_are_refused_before_anything_runs() {
    let deep = format!("[[{}]]", "tags.map(a, tags.map(b, tags.map(c, 1)))");
    for (expr, message) in [
        ("price *", "step 1 derive: the expression cannot be read:"),
        ("prise * 2", "step 1 derive: no column 'prise'; did you mean 'price'?"),
        (deep.as_str(), "step 1 derive: loops over lists go at most 2 deep in an expression"),
    ] {
        let expr = serde_json::Value::from(expr);
        let steps = format!(r#"[{{"step":"derive","as":"r","expr":{expr}}}]"#);
        let error = pipeline(r#"[{"price":1,"tags":[]}]"#, &steps).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(error.code, InvalidPipeline);
    }
}

#[test]
fn a_function_that_is_not_there_is_an_error_of_the_plan() {
    let plan = |expr: &str| {
        let expr = serde_json::Value::from(expr);
        let steps = format!(r#"[{{"step":"derive","as":"r","expr":{expr}}}]"#);
        Plan::parse(&RawJson::from_trusted(steps), &Limits::default())
    };
    for (expr, name) in [
        ("round(price)", "'round' that takes 1 argument "),
        ("price > 1 ? 0 : sqroot(price, 2)", "'sqroot' that takes 2 arguments "),
        ("name.toUpper()", "'toUpper' that takes 0 arguments "),
        ("tags.map(t, t.shout())", "'shout'"),
        ("math.cube(price)", "'math.cube'"),
        ("tags.map(t)", "'map'"),
    ] {
        let error = plan(expr).err().unwrap_or_else(|| panic!("{expr} is taken"));
        assert_eq!(error.code, ErrorCode::InvalidPipeline);
        assert!(error.message.starts_with(&format!("there is no function {name}")), "{expr}: {error}");
    }
    for expr in [
        "math.round(price) + math.greatest(1, 2) + math.abs(-1)",
        "size(tags) + int(\"1\") + double(1) + name.size()",
        "name.contains(\"a\") || name.endsWith(\"b\") || name.matches(\"c\") || \"x\" in tags",
        "name.charAt(0) + name.substring(1) + name.trim() + strings.quote(name) + name.split(\",\")[0]",
        "tags.all(t, t != \"\") && tags.exists_one(t, true) && has(row.name) && type(name) == string",
        "tags.filter(t, !t.startsWith(\"x\")).join() + name.replace(\"a\", \"b\", 1) + string(1)",
    ] {
        assert!(plan(expr).is_ok(), "{expr}: {:?}", plan(expr).err());
    }
}

#[test]
fn expressions_are_bounded() {
    let list: Vec<String> = (0..400).map(|i| i.to_string()).collect();
    let input = format!(r#"[{{"l":[{}]}}]"#, list.join(","));
    for (expr, reason) in [
        ("l.map(a, l.map(b, 1))", "the loops of one row visit more than 100000 elements"),
        (
            "l.map(a, \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\").join(\"\").replace(\"x\", \"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\")",
            "the text would be longer than 1048576 bytes",
        ),
    ] {
        let steps = format!(
            r#"[{{"step":"derive","as":"r","expr":{}}},{{"step":"table_select","fields":["r"]}}]"#,
            serde_json::Value::from(expr)
        );
        let output = pipeline(&input, &steps).unwrap();
        assert_eq!(output.data.as_str(), r#"[{"r":null}]"#);
        assert!(output.warnings[0].contains(reason), "{:?}", output.warnings);
    }
}

#[test]
fn dates_and_patterns() {
    let output = pipeline(
        r#"[{"d":"2026-01-02 10:00"},{"d":"never"},{"d":null},{},{"d":20260102},{"d":true}]"#,
        r#"[{"step":"parse_date","field":"d"}]"#,
    )
    .unwrap();
    assert_eq!(
        output.data.as_str(),
        r#"[{"d":"2026-01-02T10:00:00"},{"d":null},{"d":null},{"d":null},{"d":"2026-01-02"},{"d":null}]"#
    );
    assert_eq!(
        output.warnings,
        [
            "step 1 parse_date: 1 value of 'd' skipped: not text",
            "step 1 parse_date: 1 value of 'd' skipped: not a date in ISO 8601 or RFC 2822",
        ]
    );
    expect(&[
        (
            r#"[{"d":"02.01.2026"}]"#,
            r#"[{"step":"parse_date","field":"d","format":"%d.%m.%Y","as":"day"}]"#,
            r#"[{"d":"02.01.2026","day":"2026-01-02"}]"#,
        ),
        (
            r#"[{"s":"flight SK1472 to Oslo"},{"s":"none"},{"s":5},{}]"#,
            r#"[{"step":"regex_extract","field":"s","pattern":"([A-Z]{2})\\d+","as":"code"},{"step":"table_select","fields":["code"]}]"#,
            r#"[{"code":"SK"},{"code":null},{"code":null},{"code":null}]"#,
        ),
        (r#"[{"s":"a1b22"}]"#, r#"[{"step":"regex_extract","field":"s","pattern":"\\d+"}]"#, r#"[{"s":"1"}]"#),
        (r#"[{"s":"x"}]"#, r#"[{"step":"regex_extract","field":"s","pattern":"x(y)?"}]"#, r#"[{"s":null}]"#),
    ]);
    let error = pipeline(r#"[{"s":"x"}]"#, r#"[{"step":"regex_extract","field":"s","pattern":"(?=x)"}]"#).unwrap_err();
    assert!(error.to_string().contains("look-around"), "{error}");
}
