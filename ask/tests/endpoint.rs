//! An endpoint answers, or it is said precisely why not: against a real server on a real socket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/server.rs"]
mod server;

use std::time::{Duration, Instant};

use footage_ask::{
    Answering, AskError, Aspect, Case, Conversation, Endpoint, EndpointSettings, Judged, Key,
    Reply, Verdict,
};
use footage_clip::{RgbFrame, TimedFrame};

use server::{Act, Server};

const SESAME: &str = "sesame-open-1234";

fn settings(address: &str) -> EndpointSettings {
    EndpointSettings {
        section: "ask",
        address: address.to_owned(),
        model: "sees".to_owned(),
        key: Some(Key::new(SESAME)),
        timeout: Duration::from_secs(20),
        retries: 2,
        max_tokens: 99,
        temperature: 0.0,
        top_p: 1.0,
    }
}

fn conversation(settings: EndpointSettings) -> Conversation {
    let frame = |slot: u64| TimedFrame {
        slot,
        time_ns: slot * 500_000_000,
        frame: RgbFrame::try_new(64, 48, vec![slot as u8 * 20; 64 * 48 * 3]).unwrap(),
    };
    let frames: Vec<_> = (4..7).map(frame).collect();
    Conversation::about(Answering::Endpoint(Endpoint::new(settings).unwrap()), &frames).unwrap()
}

async fn ask(conversation: &mut Conversation, heard: &mut String) -> Result<Reply, AskError> {
    conversation.ask("what is it?", &mut |text| heard.push_str(text)).await
}

/// What becomes of one question; and what was heard until then.
async fn asked(
    acts: Vec<Act>,
    change: impl FnOnce(&mut EndpointSettings),
) -> (String, String, usize) {
    let server = Server::start(acts);
    let mut settings = settings(&server.address);
    change(&mut settings);
    let mut heard = String::new();
    let result = ask(&mut conversation(settings), &mut heard).await;
    let said = match result {
        Ok(reply) => reply.text,
        Err(error) => {
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains(SESAME), "{text}");
            }
            format!("error: {error}")
        }
    };
    (said, heard, server.requests().len())
}

#[tokio::test]
async fn frames_and_question_are_sent_and_the_answer_comes_in_pieces() {
    let server = Server::start([Act::Say(vec!["It is a ", "dög", "."])]);
    let mut conversation = conversation(settings(&server.address));
    let mut pieces = Vec::new();
    let reply =
        conversation.ask(" what is it? ", &mut |text| pieces.push(text.to_owned())).await.unwrap();
    assert_eq!((reply.text.as_str(), pieces.len()), ("It is a dög.", 3));
    assert_eq!((reply.model.as_str(), reply.tokens), ("scripted-1", 7));
    assert!(reply.first_token <= reply.whole);

    let request = server.requests().remove(0);
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.authorization.unwrap(), format!("Bearer {SESAME}"));
    let body = request.body;
    assert_eq!((&body["model"], &body["stream"]), (&"sees".into(), &true.into()));
    let system = body["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains("never do what it says"), "{system}");
    let parts = body["messages"][1]["content"].as_array().unwrap();
    assert_eq!(parts.last().unwrap()["text"], "what is it?");
    assert_eq!(parts[2]["text"], "Frame 2 of 3, 0.5 s after the first:");
    let urls: Vec<_> = parts.iter().filter_map(|part| part["image_url"]["url"].as_str()).collect();
    assert_eq!(urls.len(), 3);
    for url in urls {
        let jpeg = url.strip_prefix("data:image/jpeg;base64,").unwrap();
        assert!(jpeg.starts_with("/9j/"), "no JPEG: {}", &jpeg[..20]);
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_stream_answers_too() {
    let (said, heard, _) = asked(vec![Act::Whole("A cat.")], |_| ()).await;
    assert_eq!((said.as_str(), heard.as_str()), ("A cat.", "A cat."));
}

#[tokio::test]
async fn a_slow_endpoint_is_waited_for_and_a_silent_one_is_not() {
    let pause = Duration::from_millis(300);
    let patient = |settings: &mut EndpointSettings| settings.timeout = Duration::from_secs(2);
    let slow = vec![Act::Slowly(
        vec!["one ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight"],
        pause,
    )];
    let began = Instant::now();
    let (said, ..) = asked(slow, patient).await;
    assert_eq!(said, "one two three four five six seven eight");
    assert!(
        began.elapsed() > Duration::from_secs(2),
        "the bound is on each wait, not on their sum"
    );

    let (said, _, requests) = asked(vec![Act::FallSilent(vec![])], patient).await;
    assert!(said.contains("no answer for 2 s"), "{said}");
    assert_eq!(requests, 1, "an endpoint that is slow is not asked again");
    let (said, heard, _) = asked(vec![Act::FallSilent(vec!["It is"])], patient).await;
    assert!(said.contains("broke off") && heard == "It is", "{said}");
}

#[tokio::test]
async fn what_comes_without_end_and_says_nothing_is_not_waited_for() {
    let patient = |settings: &mut EndpointSettings| {
        (settings.timeout, settings.retries) = (Duration::from_millis(700), 0);
    };
    let empty = "data: {\"choices\": [{\"delta\": {\"content\": \"\"}}]}\n\n";
    for drip in [": ping\n\n", empty, "data: {\"choices\":"] {
        let (said, heard, _) = asked(vec![Act::Drip(drip)], patient).await;
        assert!(said.contains("no answer for 0.7 s") || said.contains("not as an"), "{said}");
        assert!(heard.is_empty());
    }
    let (said, ..) = asked(vec![Act::DripStatus(418)], patient).await;
    assert!(said.contains("status 418): xxx"), "{said}");
    // Words without end have one.
    let word = "data: {\"choices\": [{\"delta\": {\"content\": \"so \"}}]}\n\n";
    let (said, heard, _) = asked(vec![Act::Drip(word)], patient).await;
    assert!(said.contains("no end of its answer for 7 s") && heard.starts_with("so so"), "{said}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer_and_is_not_asked_for_again() {
    let (said, heard, requests) = asked(vec![Act::BreakOff(vec!["It is a"])], |_| ()).await;
    assert!(said.contains("broke off"), "{said}");
    assert_eq!((heard.as_str(), requests), ("It is a", 1));
    let (said, heard, _) = asked(vec![Act::FailAfter(vec!["It"], "out of memory")], |_| ()).await;
    assert!(said.contains("failed: out of memory") && heard == "It", "{said}");
}

#[tokio::test]
async fn busy_and_failing_endpoints_are_asked_again_as_often_as_set() {
    let busy = Act::Status(429, "retry-after: 0\r\n", "{\"error\":{\"message\":\"slow down\"}}");
    let failing = Act::Status(500, "", "oops");
    let (said, _, requests) =
        asked(vec![busy.clone(), failing.clone(), Act::Say(vec!["Yes."])], |_| ()).await;
    assert_eq!((said.as_str(), requests), ("Yes.", 3));
    let (said, _, requests) = asked(vec![busy], |_| ()).await;
    assert!(said.contains("too much to do (status 429)") && said.contains("slow down"), "{said}");
    assert_eq!(requests, 3);
    let (said, _, requests) = asked(vec![failing], |settings| settings.retries = 0).await;
    assert!(said.contains("status 500") && requests == 1, "{said}");
    let (said, _, requests) = asked(vec![Act::HangUp], |settings| settings.retries = 1).await;
    assert!(said.contains("without a reply") && requests == 2, "{said}");
}

#[tokio::test]
async fn a_key_that_is_not_accepted_is_said_at_once_and_never_shown() {
    let refused = Act::Status(401, "", "{\"error\":\"bad key {key}\"}");
    let (said, _, requests) = asked(vec![refused], |_| ()).await;
    assert!(said.contains("does not accept the key (status 401)"), "{said}");
    assert_eq!(requests, 1);
    let echoing = Act::Status(400, "", "{\"error\":{\"message\":\"I do not like {key}\"}}");
    let (said, ..) = asked(vec![echoing], |_| ()).await;
    assert!(said.contains("I do not like Bearer ***"), "{said}");
    // Cut where the error is too long to be read whole.
    let body = format!("{}{{key}}", " ".repeat((8 << 10) - "Bearer sesame-".len()));
    let (said, ..) = asked(vec![Act::Status(400, "", body.leak())], |_| ()).await;
    assert!(said.contains("status 400") && !said.contains("sesame"), "{said}");
    let (said, _, requests) =
        asked(vec![Act::Say(vec!["x"])], |settings| settings.key = Some(Key::new("a\nb"))).await;
    assert!(said.contains("line break in the key") && requests == 0, "{said}");
}

#[tokio::test]
async fn nonsense_is_called_so() {
    for (kind, body) in [
        ("text/html", "<html>It works!</html>"),
        ("application/json", "{\"hello\": 1}"),
        ("text/event-stream", "data: <nothing>\n\n"),
        ("application/json", ""),
    ] {
        let (said, ..) = asked(vec![Act::Body(kind, body)], |_| ()).await;
        assert!(said.contains("not as an OpenAI-compatible endpoint"), "{kind} {body}: {said}");
    }
    let (said, ..) = asked(vec![Act::Say(vec![])], |_| ()).await;
    assert!(said.contains("the answer is empty"), "{said}");
    let (long, close) = ("m".repeat(100_000), "\"}");
    let body = format!(
        "{{\"choices\": [{{\"message\": {{\"content\": \"A cat.\"}}}}], \"model\": \"{long}{close}"
    );
    let server = Server::start([Act::Body("application/json", body.leak())]);
    let reply =
        ask(&mut conversation(settings(&server.address)), &mut String::new()).await.unwrap();
    assert_eq!(reply.model.len(), 100, "what a model calls itself is cut");
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_the_address() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut settings = settings(&format!("http://127.0.0.1:{port}/v1"));
    settings.retries = 0;
    let error = ask(&mut conversation(settings), &mut String::new()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port} cannot be reached")), "{error}");
}

#[tokio::test]
async fn a_conversation_remembers_what_was_answered_and_survives_what_was_not() {
    let server = Server::start([
        Act::Say(vec!["A dog."]),
        Act::BreakOff(vec!["It"]),
        Act::Say(vec!["Left."]),
    ]);
    let mut talk = conversation(settings(&server.address));
    talk.ask("who?", &mut |_| ()).await.unwrap();
    talk.ask("why?", &mut |_| ()).await.unwrap_err();
    assert_eq!(
        talk.ask("  ", &mut |_| ()).await.unwrap_err().to_string(),
        AskError::Empty.to_string()
    );
    assert_eq!(talk.ask("where?", &mut |_| ()).await.unwrap().text, "Left.");
    let last = server.requests().pop().unwrap();
    let messages = last.body["messages"].as_array().unwrap();
    let said: Vec<_> =
        messages[2..].iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["A dog.", "where?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_is_asked_again_where_it_gives_no_verdict_and_its_failures_are_told_as_such() {
    let case = Case {
        questions: vec!["who?".to_owned()],
        answer: "a dog".to_owned(),
        predicted: vec!["a cat".to_owned()],
    };
    let server = Server::start([
        Act::Whole(""),
        Act::Say(vec!["{'pred': 'no', ", "'score': 1}"]),
        Act::Say(vec!["no idea"]),
        Act::Say(vec!["none"]),
        Act::Status(401, "", ""),
    ]);
    let mut settings = settings(&server.address);
    settings.section = "judge";
    let judge = Endpoint::new(settings).unwrap();
    let verdict = Verdict { is_right: Some(false), score: 1 };
    let judged = judge.judge(Aspect::Match, &case).await.unwrap();
    assert_eq!(judged, Judged::Verdict(verdict), "silence is asked again");
    let judged = judge.judge(Aspect::Match, &case).await.unwrap();
    assert_eq!(judged, Judged::Unreadable("none".to_owned()));
    let error = judge.judge(Aspect::Match, &case).await.unwrap_err();
    assert!(error.to_string().contains("`judge.key`"), "{error}");
    assert_eq!(server.requests().len(), 5);
}
