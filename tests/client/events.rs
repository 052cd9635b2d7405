//! Events and questions in the middle of calls, against an embedded broker with real workers.

use majordomo::client::{Update, Updates};
use majordomo::worker::{AskError, Event, Question};

use super::*;

/// What comes of a call, up to its end, in words; each question is answered by `answer`.
async fn all(mut updates: Updates, answer: &str) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(update) = updates.next().await {
        said.push(match update {
            Ok(Update::Event(event)) => {
                let message = event.message.unwrap_or_default();
                format!("event {message} {:?} {}", event.progress, event.missed)
            }
            Ok(Update::Question(question)) => {
                let message = question.message.clone().unwrap_or_default();
                question.answer(answer.to_owned()).unwrap();
                format!("question {message}")
            }
            Ok(Update::Partial(part)) => format!("partial {}", text(&part)),
            Ok(Update::Final(last)) => format!("final {}", text(&last)),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("error {error}"),
        });
    }
    said
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.first()).into_owned()
}

async fn talks(request: Request) -> Result<Message, Failure> {
    request.event("begun").await?;
    request.part("one").await?;
    let half = Event { progress: Some(50), severity: Some("info".into()), ..Event::from("half") };
    request.event(half).await?;
    let answer = request.ask("go on?").await?;
    request.part("two").await?;
    Ok(answer)
}

#[tokio::test]
async fn events_parts_and_questions_come_in_the_order_in_which_they_were_said() {
    let (_broker, endpoint) = broker();
    let _worker = worker(&endpoint, "talks", talks).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let said = all(client.call("talks", "x").updates(), "yes").await;
    let expected = [
        "event begun None 0",
        "partial one",
        "event half Some(50) 0",
        "question go on?",
        "partial two",
        "final yes",
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_caller_that_only_wants_the_answer_hears_of_no_event_and_is_not_asked() {
    let (_broker, endpoint) = broker();
    let handler = |request: Request| async move {
        request.event("begun").await?;
        let asked = request.ask("anybody?").await;
        Ok(Message::from(match asked {
            Err(AskError::NoCaller { .. }) => "nobody",
            _ => "somebody",
        }))
    };
    let _worker = worker(&endpoint, "talks", handler).await;
    for protocol in ALL {
        let client = client(&endpoint, protocol).connect().await.unwrap();
        assert_eq!(client.call("talks", "x").await.unwrap().first(), b"nobody");
        let parts: Vec<_> = client.call("talks", "x").stream().collect().await;
        assert_eq!(parts.len(), 1, "{protocol:?}");
        if protocol != Protocol::Mjp {
            let said = all(client.call("talks", "x").updates(), "yes").await;
            assert_eq!(said, ["final nobody"]);
        }
    }
}

#[tokio::test]
async fn a_question_that_is_dropped_is_declined() {
    let (_broker, endpoint) = broker();
    let handler = |request: Request| async move {
        let question = Question { body: Message::from("for programs"), ..Question::default() };
        match request.ask(question).await {
            Err(AskError::Refused { code, .. }) => Ok(Message::from(code)),
            other => Ok(Message::from(format!("{other:?}"))),
        }
    };
    let _worker = worker(&endpoint, "asks", handler).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let mut updates = client.call("asks", "x").updates();
    let Some(Ok(Update::Question(question))) = updates.next().await else { panic!("none") };
    assert_eq!((question.message.as_deref(), text(&question.body)), (None, "for programs".into()));
    drop(question);
    let Some(Ok(Update::Final(reply))) = updates.next().await else { panic!("none") };
    assert_eq!(text(&reply), "declined");
    // In its own words.
    let mut updates = client.call("asks", "x").updates();
    let Some(Ok(Update::Question(question))) = updates.next().await else { panic!("none") };
    question.decline("busy", "ask me tomorrow");
    let Some(Ok(Update::Final(reply))) = updates.next().await else { panic!("none") };
    assert_eq!(text(&reply), "busy");
}

#[tokio::test]
async fn a_question_ends_with_its_request() {
    let (_broker, endpoint) = broker();
    let (ended, mut end) = mpsc::channel(1);
    let handler = move |request: Request| {
        let ended = ended.clone();
        async move {
            let asked = request.ask("still there?").await;
            ended.send(asked.unwrap_err()).await?;
            Ok::<_, Failure>(Message::from("nobody hears it"))
        }
    };
    let _worker = worker(&endpoint, "asks", handler).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let mut updates = client.call("asks", "x").updates();
    let Some(Ok(Update::Question(question))) = updates.next().await else { panic!("none") };
    drop(updates);
    assert_eq!(end.recv().await, Some(AskError::Cancelled));
    question.answer("too late").unwrap();
    client.close(SOON).await;
}

#[tokio::test]
async fn many_questions_of_many_calls_find_their_answers() {
    let (_broker, endpoint) = broker();
    let handler = |request: Request| async move {
        let asked = (0..8).map(|number| {
            let question = format!("{}/{number}", String::from_utf8_lossy(request.first()));
            let request = &request;
            async move { request.ask(question.clone()).await.map(|it| (question, it)) }
        });
        for told in join_all(asked).await {
            let (question, answer) = told?;
            if answer.first() != question.as_bytes() {
                return Err(Failure::new("mixed_up", question));
            }
        }
        Ok(Message::from("all mine"))
    };
    let _worker = worker(&endpoint, "asks", handler).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let calls = (0..50).map(|number| {
        let mut updates = client.call("asks", number.to_string()).updates();
        async move {
            // The answers come in another order than the questions.
            let mut kept = Vec::new();
            while let Some(update) = updates.next().await {
                match update.unwrap() {
                    Update::Question(question) => kept.push(question),
                    Update::Final(reply) => return text(&reply),
                    _ => {}
                }
                if kept.len() == 8 {
                    for question in kept.drain(..).rev() {
                        let echo = question.message.clone().unwrap_or_default();
                        question.answer(echo).unwrap();
                    }
                }
            }
            String::new()
        }
    });
    assert!(join_all(calls).await.iter().all(|reply| reply == "all mine"));
}

#[tokio::test]
async fn events_that_a_slow_caller_has_no_room_for_are_missed_and_the_answer_is_not() {
    let (_broker, endpoint) = broker();
    let handler = |request: Request| async move {
        for number in 0..100_u64 {
            request.event(Event { progress: Some(number), ..Event::default() }).await?;
        }
        request.event("last").await?;
        Ok(Message::from("done"))
    };
    let _worker = worker(&endpoint, "talks", handler).await;
    let mut builder = client(&endpoint, Protocol::Mjp);
    builder.config().parts_max = 9;
    let client = builder.connect().await.unwrap();
    let mut updates = client.call("talks", "x").updates();
    // Nothing is read before the answer is there.
    client.call("talks", "y").await.unwrap();
    let (mut seen, mut last) = (0, None);
    while let Some(update) = updates.next().await {
        match update.unwrap() {
            Update::Event(event) => seen += 1 + event.missed,
            Update::Final(reply) => last = Some(text(&reply)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(last.as_deref(), Some("done"));
    assert!(seen < 101, "{seen}");
}
