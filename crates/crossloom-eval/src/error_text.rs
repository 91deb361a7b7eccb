//! Texts that stand in the place of an answer where a client of a server got none.
//!
//! Harnesses that ask a server repeat a request that fails, and then score what they have as if the model had said it. What they have is one
//! of these, up to white space in front of it:
//!
//! - `[LMMS_EVAL_REQUEST_FAILED …` and `[LMMS_EVAL_BUDGET_EXCEEDED]`: lmms-eval's own words;
//! - `Error code: 400 - …`, with a status from 400 to 599: an exception of OpenAI's client as a text;
//! - a JSON object whose `error` is an object with a `message`: the body of a refusal, as a client has it that looks at no status.

use serde_json::Value;

/// What lmms-eval writes in the place of an answer.
const LMMS_EVAL: [&str; 2] = ["[LMMS_EVAL_REQUEST_FAILED", "[LMMS_EVAL_BUDGET_EXCEEDED]"];
/// How exceptions of OpenAI's client begin.
const OPENAI: &str = "Error code: ";

/// Whether a text says that a request failed, and is no answer.
pub fn is_error_text(text: &str) -> bool {
    let text = text.trim_start();
    LMMS_EVAL.iter().any(|own| text.starts_with(own))
        || text.strip_prefix(OPENAI).is_some_and(begins_with_status)
        || is_refusal(text)
}

/// Whether a text begins with the status of an error and ends there, or goes on behind ` - `.
fn begins_with_status(text: &str) -> bool {
    let (status, rest) = text.split_at_checked(3).unwrap_or_default();
    let is_error = status.parse::<u16>().is_ok_and(|status| (400..600).contains(&status));
    is_error && (rest.trim().is_empty() || rest.starts_with(" - "))
}

fn is_refusal(text: &str) -> bool {
    let body = text.starts_with('{').then(|| serde_json::from_str::<Value>(text));
    matches!(body, Some(Ok(body)) if body.pointer("/error/message").is_some_and(Value::is_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_clients_are_told_from_answers() {
        for failure in [
            "[LMMS_EVAL_REQUEST_FAILED after 5 retries] Error code: 503 - {'error': …}",
            "Error code: 400 - {'error': {'message': 'no', 'type': 'invalid_request_error'}}",
            " Error code: 404",
            "[LMMS_EVAL_BUDGET_EXCEEDED]",
            "\n{\"error\": {\"message\": \"the queue is full\", \"type\": \"server_error\", \"param\": null}}",
        ] {
            assert!(is_error_text(failure), "{failure}");
        }
        for answer in [
            "",
            "red",
            "Error code: none",
            "Error code: 200 - fine",
            "Error code: 4041 on the screen",
            "Error code: 404 is shown",
            "Error",
            "the sign says [LMMS_EVAL_REQUEST_FAILED",
            "{\"error\": \"a text\"}",
            "{\"message\": {\"error\": \"x\"}}",
            "{\"error\": {\"message\": \"cut",
        ] {
            assert!(!is_error_text(answer), "{answer}");
        }
    }
}
