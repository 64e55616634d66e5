//! Streams over a real connection: cut, dropped, compressed, left open.

use agent_runner::llm::OpenAi;

use crate::support::{
    llm::{Row, call, check_rows, request, settings},
    model::{Gate, ModelServer, Reply},
};

/// A reply with text that is split within characters, a tool call, and counts.
const RECORDED: &str = concat!(
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    ": keep-alive\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é漢🙂\"}}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"run\",\"arguments\":\"{\\\"k\\\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\n",
    "data: [DONE]\n\n",
);

#[tokio::test]
async fn a_stream_cut_in_two_at_any_byte_is_the_same_reply() {
    let cuts: Vec<usize> = (0..=RECORDED.len()).collect();
    let server = ModelServer::start(cuts.iter().map(|cut| Reply::stream(RECORDED).cut_at(*cut)));
    let client = OpenAi::new(&settings(&server)).unwrap();
    for cut in cuts {
        let outcome = call(&client, &request()).await;
        assert_eq!(outcome.brief(), r#""é漢🙂" run{"k":1}"#, "cut at {cut}: {:?}", outcome.result);
        assert_eq!((outcome.spend.tokens.prompt, outcome.spend.tokens.completion), (9, 3), "cut at {cut}");
        assert_eq!(outcome.told, "é漢🙂", "cut at {cut}");
    }
}

#[tokio::test]
async fn a_connection_dropped_at_any_byte_is_never_taken_for_an_answer() {
    let whole_from = RECORDED.find("finish_reason\":\"tool_calls\"").unwrap();
    let whole_from = whole_from + RECORDED[whole_from..].find('\n').unwrap();
    let cuts: Vec<usize> = (0..=RECORDED.len()).collect();
    let server = ModelServer::start(cuts.iter().map(|cut| Reply::stream(RECORDED).drop_at(*cut)));
    let mut settings = settings(&server);
    settings.llm.max_retries = 0;
    settings.breaker.failures = 10_000;
    let client = OpenAi::new(&settings).unwrap();
    for cut in cuts {
        let outcome = call(&client, &request()).await;
        let want = match cut {
            cut if cut >= whole_from => r#""é漢🙂" run{"k":1}"#,
            _ => "!llm_truncated?",
        };
        assert_eq!(outcome.brief(), want, "dropped at {cut}: {:?}", outcome.result);
    }
}

#[tokio::test]
async fn odd_transports_carry_good_answers() {
    let end = RECORDED.find("data: [DONE]").unwrap();
    let row = |name, reply| Row { name, replies: vec![reply], want: r#""é漢🙂" run{"k":1}"# };
    let whole = r#"{"choices":[{"message":{"content":"é漢🙂","tool_calls":[{"id":"c","function":{"name":"run","arguments":{"k":1}}}]},"finish_reason":"stop"}]}"#;
    let rows = vec![
        row("body left open after [DONE]", Reply::stream(RECORDED).stay_open()),
        row("body left open after the finish, without [DONE]", Reply::stream(&RECORDED[..end]).stay_open()),
        row("no [DONE]", Reply::stream(&RECORDED[..end])),
        row("gzip", Reply::stream(gzip(RECORDED.as_bytes())).header("content-encoding", "gzip")),
        row("with a length", Reply::body(200, "text/event-stream; charset=utf-8", RECORDED)),
        row("wrong content type", Reply::stream(RECORDED).header("content-type", "text/plain")),
        row("JSON in place of a stream", Reply::body(200, "application/json", whole)),
        row("JSON that says it is a stream", Reply::stream(whole)),
        row("garbage after [DONE]", Reply::stream(format!("{RECORDED}data: {{broken\n\n"))),
    ];
    check_rows(rows, |_| {}).await;
}

#[tokio::test]
async fn broken_compression_is_a_broken_answer() {
    let mut bytes = gzip(RECORDED.as_bytes());
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    let reply = Reply::stream(bytes).header("content-encoding", "gzip");
    let rows = vec![Row { name: "half of it", replies: vec![reply], want: "!llm_truncated?" }];
    check_rows(rows, |settings| settings.llm.max_retries = 0).await;
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_stopped() {
    let long = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(9000));
    let squeezed = gzip(long.repeat(20).as_bytes());
    let rows = vec![
        Row { name: "stream", replies: vec![Reply::stream(long.repeat(20)).stay_open()], want: "!llm_bad_output" },
        Row {
            name: "compressed",
            replies: vec![Reply::stream(squeezed).header("content-encoding", "gzip")],
            want: "!llm_bad_output",
        },
    ];
    check_rows(rows, |settings| settings.llm.max_response_bytes = 100_000).await;
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let server = ModelServer::start((0..20).map(|_| Reply::text("hello")));
    let client = OpenAi::new(&settings(&server)).unwrap();
    for _ in 0..20 {
        assert_eq!(call(&client, &request()).await.brief(), "\"hello\"");
    }
    assert!(server.connections() < 20, "{} connections for 20 calls", server.connections());
}

#[tokio::test]
async fn text_is_told_while_it_arrives() {
    let (first, second) = (Gate::new(), Gate::new());
    let reply = Reply::text("hello world");
    let (middle, end) = (reply.len() / 3, reply.len());
    let server = ModelServer::start([reply.gate_at(middle, &first).gate_at(end - 1, &second)]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let request = request();
    let task = call(&client, &request);
    let gates = async {
        first.reached().await;
        first.open();
        second.reached().await;
        second.open();
    };
    let (outcome, ()) = tokio::join!(task, gates);
    assert_eq!((outcome.brief().as_str(), outcome.told.as_str()), ("\"hello world\"", "hello world"));
    assert_eq!(outcome.spend.tokens.total(), 110);
    assert!(outcome.spend.cost_usd > 0.0);
    assert_eq!(outcome.spend.model.as_deref(), Some("gpt-4o-mini"));
}

#[tokio::test]
async fn streaming_can_be_switched_off() {
    let body = serde_json::json!({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
    let server = ModelServer::start([Reply::json(200, &body)]);
    let mut settings = settings(&server);
    settings.llm.stream = false;
    let client = OpenAi::new(&settings).unwrap();
    assert_eq!(call(&client, &request()).await.brief(), "\"hi\"");
    let sent = server.requests()[0].json();
    assert_eq!((sent["stream"].as_bool(), sent.get("stream_options")), (Some(false), None));
}

/// A gzip member that stores `bytes` without squeezing them.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    out.extend((!crc).to_le_bytes());
    out.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    out
}
