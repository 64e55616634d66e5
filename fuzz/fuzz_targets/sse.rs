//! Any bytes as a model's answer: a reply or an error, the same wherever the bytes are cut, and never beyond the bounds.
#![no_main]

use agent_runner::llm::decode;
use libfuzzer_sys::fuzz_target;

const MAX_BYTES: usize = 2048;
const OFFERED: [&str; 2] = ["execute_pipeline", "patch_workflow"];

fuzz_target!(|data: &[u8]| {
    // The first byte says where the rest is cut.
    let Some((at, body)) = data.split_first() else { return };
    let (first, second) = body.split_at(usize::from(*at).min(body.len()));
    let mut shown = String::new();
    let whole = decode(&[body], &OFFERED, MAX_BYTES, &mut |text| shown.push_str(text));
    let cut = decode(&[first, second], &OFFERED, MAX_BYTES, &mut |_| {});
    match (whole, cut) {
        (Ok((text, calls)), Ok((again, calls_again))) => {
            assert_eq!((&text, calls.len()), (&again, calls_again.len()));
            assert!(body.len() <= MAX_BYTES && text.len() <= 3 * MAX_BYTES);
            for call in calls {
                call.arguments.to_value().expect("arguments are JSON");
            }
        }
        // A server may also say that the request is too long for its model.
        (Err(error), Err(_)) => {
            let code = error.code.as_str();
            assert!(code.starts_with("llm_") || code == "limit_exceeded", "{code}");
            assert!(!error.message.is_empty());
        }
        // What follows the end of an answer is not read, and where it comes in one piece with it, it counts.
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => {}
    }
});
