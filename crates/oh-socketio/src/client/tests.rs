use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;

use proptest::prelude::*;

use super::*;

const OPEN: &str =
    r#"0{"sid":"e","upgrades":[],"pingTimeout":20000,"pingInterval":25000,"maxPayload":4194304}"#;
const OPEN_POLLING: &str = r#"0{"sid":"e","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":40}"#;

fn client() -> Client {
    Client::new(Options::default())
}

fn polling() -> Client {
    Client::new(Options { transport: Transport::Polling, ..Options::default() })
}

/// Gives a text frame, and says what came of it, as a person would note it.
fn give(client: &mut Client, text: &str, now_ms: u64) -> String {
    match client.receive(Frame::Text(text.into()), now_ms) {
        Ok(Incoming::Opened(open)) => format!("opened {}", open.sid),
        Ok(Incoming::Event { data, ack, attachments }) => {
            format!("event {data} {ack:?} {attachments:?}")
        }
        Ok(other) => format!("{other:?}"),
        Err(fault) => format!("fault: {fault}"),
    }
}

fn sent(client: &mut Client) -> Vec<String> {
    let texts = core::iter::from_fn(|| client.next_frame()).map(|frame| match frame {
        Frame::Text(text) => text.into_owned(),
        Frame::Binary(bytes) => format!("{bytes:?}"),
    });
    texts.collect()
}

fn deviations(client: &Client) -> Vec<Deviation> {
    client.deviations().iter().copied().collect()
}

#[test]
fn a_conversation_of_openhands_comes_before_it_is_connected() {
    let mut client = client();
    assert_eq!(sent(&mut client), Vec::<String>::new());
    assert_eq!(give(&mut client, OPEN, 100), "opened e");
    assert_eq!(client.deadline_ms(), Some(45_100));
    assert_eq!(sent(&mut client), ["40"]);
    assert_eq!(
        give(&mut client, r#"42["oh_event",{"id":0}]"#, 200),
        r#"event ["oh_event",{"id":0}] None []"#
    );
    assert_eq!(client.state(), State::Open);
    assert_eq!(give(&mut client, r#"40{"sid":"s"}"#, 300), r#"Connected { sid: Some("s") }"#);
    assert_eq!(client.state(), State::Connected);
    assert_eq!(client.deadline_ms(), Some(45_100), "an event is no heartbeat");
    assert_eq!(deviations(&client), [Deviation::EventBeforeConnect]);
    assert_eq!(give(&mut client, "2", 25_000), "Ping");
    assert_eq!(sent(&mut client), ["3"]);
    assert_eq!(client.deadline_ms(), Some(70_000));
    assert!(!client.is_overdue(69_999) && client.is_overdue(70_000));
    client.close();
    assert_eq!(sent(&mut client), ["41", "1"]);
    assert_eq!((client.state(), client.deadline_ms()), (State::Closed, None));
}

#[test]
fn a_refusal_is_told_and_leaves_the_connection_open() {
    for (answer, met) in [
        (r#"44{"message":"No conversation_id in query params"}"#, vec![]),
        (r#"44"Unable to connect""#, vec![Deviation::RefusalAsText]),
        ("44null", vec![Deviation::RefusalAsOther]),
        ("44", vec![Deviation::RefusalAsOther]),
    ] {
        let mut client = client();
        give(&mut client, OPEN, 0);
        let Ok(Incoming::Refused { data }) = client.receive(Frame::Text(answer.into()), 0) else {
            unreachable!("{answer} is a refusal")
        };
        assert_eq!(Some(&*data.unwrap_or_default()), answer.strip_prefix("44"));
        assert_eq!((client.state(), deviations(&client)), (State::Refused, met));
        assert_eq!(give(&mut client, "2", 0), "Ping");
        client.close();
        assert_eq!(sent(&mut client), ["40", "3", "1"]);
    }
}

#[test]
fn an_event_is_answered_under_its_id() {
    let mut client = client();
    assert_eq!(client.emit(r#"["a"]"#, true), None, "nobody is there");
    give(&mut client, OPEN, 0);
    give(&mut client, r#"40{"sid":"s"}"#, 0);
    assert_eq!(client.emit(r#"["a",1]"#, false), None);
    assert_eq!(client.emit(r#"["b"]"#, true), Some(0));
    assert_eq!(client.emit(r#"["c"]"#, true), Some(1));
    assert_eq!(sent(&mut client), ["40", r#"42["a",1]"#, r#"420["b"]"#, r#"421["c"]"#]);
    let answer = r#"Ack { id: 1, data: "[true]", attachments: [] }"#;
    assert_eq!(give(&mut client, "431[true]", 0), answer);
}

#[test]
fn attachments_come_behind_their_packet() {
    let mut client = client();
    give(&mut client, OPEN, 0);
    give(&mut client, r#"40{"sid":"s"}"#, 0);
    let event = r#"452-["b",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(give(&mut client, event, 0), "Nothing");
    let first = client.receive(Frame::Binary(Cow::Borrowed(&[1])), 0);
    assert_eq!(first, Ok(Incoming::Nothing));
    assert_eq!(give(&mut client, "2", 0), "Ping", "a heartbeat may come between");
    let last = client.receive(Frame::Binary(Cow::Borrowed(&[2])), 0);
    let Ok(Incoming::Event { attachments, .. }) = last else { unreachable!("it is whole") };
    assert_eq!(attachments, [[1], [2]]);

    assert_eq!(give(&mut client, event, 0), "Nothing");
    let said = "fault: a packet came among attachments";
    assert_eq!(give(&mut client, r#"42["a"]"#, 0), said);
    assert_eq!(client.state(), State::Closed);
}

#[test]
fn a_message_may_have_so_many_bytes_and_no_more() {
    let small = || Client::new(Options { message_bytes_max: OPEN.len(), ..Options::default() });
    let mut client = small();
    assert_eq!(give(&mut client, OPEN, 0), "opened e");
    let said = format!("fault: a message has more than {} bytes", OPEN.len());
    assert_eq!(give(&mut client, &"4".repeat(OPEN.len() + 1), 0), said);
    let mut client = small();
    give(&mut client, OPEN, 0);
    give(&mut client, r#"451-["b",{"_placeholder":true,"num":0}]"#, 0);
    let large = vec![0; OPEN.len()];
    let taken = client.receive(Frame::Binary(large.into()), 0);
    assert_eq!(taken, Err(Fault::MessageBytes { max: OPEN.len() }), "together with its packet");
}

#[test]
fn what_cannot_come_now_is_told() {
    for (before, frame, said) in [
        (&[][..], "40", "fault: a packet came before the server opened"),
        (
            &[],
            "<html>",
            "fault: a packet of Engine.IO begins with '<', expected a digit from 0 to 6",
        ),
        (&[OPEN], OPEN, "fault: the server opened a second time"),
        (&[OPEN], "3probe", "fault: a pong came without a ping"),
        (&[OPEN], "5", "fault: the server upgraded which is the client's"),
        (
            &[OPEN],
            "4x",
            "fault: a packet of Socket.IO begins with Some('x'), expected a digit from 0 to 6",
        ),
        (&[OPEN, "1"], "2", "fault: a packet came after the end"),
    ] {
        let mut client = client();
        for frame in before {
            give(&mut client, frame, 0);
        }
        assert_eq!(give(&mut client, frame, 0), said);
        assert_eq!(client.state(), State::Closed);
    }
    let mut client = client();
    give(&mut client, OPEN, 0);
    let attachment = client.receive(Frame::Binary(Cow::Borrowed(&[1])), 0);
    let said = attachment.err().map(|fault| fault.to_string());
    assert_eq!(said.as_deref(), Some("an attachment came without its packet"));
}

#[test]
fn what_is_of_another_namespace_is_left_alone() {
    let mut client =
        Client::new(Options { namespace: Some("/vscode".into()), ..Options::default() });
    give(&mut client, OPEN, 0);
    assert_eq!(sent(&mut client), ["40/vscode,"]);
    assert_eq!(give(&mut client, r#"40{"sid":"main"}"#, 0), "Nothing");
    assert_eq!(client.state(), State::Open);
    assert_eq!(give(&mut client, r#"40/vscode,{"sid":"s"}"#, 0), r#"Connected { sid: Some("s") }"#);
    assert_eq!(give(&mut client, "41/vscode,", 0), "Disconnected");
    assert_eq!(client.emit(r#"["a"]"#, true), None);
}

#[test]
fn only_engine_io_is_spoken_where_no_namespace_is_wanted() {
    let mut client = Client::new(Options { namespace: None, ..Options::default() });
    give(&mut client, OPEN, 0);
    give(&mut client, "2", 0);
    assert_eq!(sent(&mut client), ["3"]);
}

#[test]
fn long_polling_goes_over_to_a_websocket() {
    let mut client = polling();
    assert_eq!(client.probe(), None, "it is not open");
    let opened = client.receive_payload(OPEN_POLLING, 0);
    assert!(matches!(opened.as_deref(), Ok([Incoming::Opened(_)])));
    assert_eq!(client.next_frame(), None, "packets go by posts");
    assert_eq!(client.next_payload().as_deref(), Some("40"));
    assert_eq!(client.next_payload(), None);
    client.receive_posted("OK");
    let connected = client.receive_payload("40{\"sid\":\"s\"}\u{1e}42[\"hello\"]\u{1e}2", 0);
    assert_eq!(connected.map(|taken| taken.len()), Ok(3));
    assert_eq!(client.probe(), Some(Frame::Text("2probe".into())));
    assert_eq!(client.probe(), None, "once");
    assert_eq!(client.upgrade(), None, "it is not answered");
    assert_eq!(client.next_payload().as_deref(), Some("3"), "posts go on meanwhile");
    assert_eq!(client.receive(Frame::Text("3probe".into()), 0), Ok(Incoming::ProbeAnswered));
    client.emit(r#"["late"]"#, false);
    assert_eq!(client.next_payload(), None, "it waits for the WebSocket");
    assert_eq!(client.receive_payload("6", 0), Ok(vec![Incoming::Nothing]));
    assert_eq!(client.upgrade(), Some(Frame::Text("5".into())));
    assert_eq!(sent(&mut client), [r#"42["late"]"#]);
    assert_eq!(give(&mut client, "6", 0), "Nothing");
    let met = [Deviation::NoopOverWebSocket, Deviation::PostAnsweredInCapitals];
    assert_eq!(deviations(&client), met);
    let late = client.receive_payload("2", 0);
    let said = "something other than the answer came over the WebSocket that is tried";
    assert_eq!(late.err().map(|fault| fault.to_string()).as_deref(), Some(said));
}

#[test]
fn a_post_has_as_much_as_the_server_takes() {
    let mut client = polling();
    assert!(client.receive_payload(OPEN_POLLING, 0).is_ok());
    assert!(client.receive_payload(r#"40{"sid":"s"}"#, 0).is_ok());
    client.emit(r#"["0123456789012345678901234567890123456789"]"#, false);
    for _ in 0..20 {
        client.emit("[1]", false);
    }
    let posts: Vec<_> = core::iter::from_fn(|| client.next_payload()).collect();
    let lengths: Vec<_> = posts.iter().map(String::len).collect();
    // What alone is too large is for the server to refuse; 40 bytes hold six of five and separators.
    assert_eq!(lengths, [2, 46, 35, 35, 35, 11]);
    let mut client = polling();
    let open = OPEN_POLLING.replace(",\"maxPayload\":40", "");
    assert!(client.receive_payload(&open, 0).is_ok());
    assert!(client.receive_payload(r#"40{"sid":"s"}"#, 0).is_ok());
    for _ in 0..20 {
        client.emit("[1]", false);
    }
    let posts: Vec<_> = core::iter::from_fn(|| client.next_payload()).collect();
    let packets: Vec<_> = posts.iter().map(|post| post.split('\u{1e}').count()).collect();
    assert_eq!(packets, [16, 5], "python-engineio reads no more than 16");
}

fn any_frame() -> impl Strategy<Value = Frame<'static>> {
    let near = prop_oneof![
        Just(OPEN.to_owned()),
        Just(r#"40{"sid":"s"}"#.to_owned()),
        Just(r#"452-["b",{"_placeholder":true,"num":1}]"#.to_owned()),
        Just("3probe".to_owned()),
        "[0-6][0-6]?(/a,)?[0-9]{0,2}(\\[\"a\"\\]|\\{\\}|)",
    ];
    prop_oneof![
        4 => near.prop_map(|text| Frame::Text(text.into())),
        1 => any::<String>().prop_map(|text| Frame::Text(text.into())),
        1 => proptest::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Frame::Binary(bytes.into())),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_the_state_holds(
        frames in proptest::collection::vec((any_frame(), any::<u64>(), 0_u8..8), 0..24),
        begins_with_polling in any::<bool>(),
    ) {
        let mut client = if begins_with_polling { polling() } else { client() };
        for (frame, now_ms, then) in frames {
            let was_closed = client.state() == State::Closed;
            let fault = match (&frame, begins_with_polling && then % 2 == 0) {
                (Frame::Text(text), true) => client.receive_payload(text, now_ms).err(),
                _ => client.receive(frame.clone(), now_ms).err(),
            };
            prop_assert!(!was_closed || fault.is_some(), "nothing is taken after the end");
            prop_assert!(fault.is_none() || client.state() == State::Closed);
            prop_assert!(client.open().is_some() || client.deadline_ms().is_none());
            match then {
                1 => drop(client.probe()),
                2 => drop(client.upgrade()),
                3 => drop(client.emit("[\"a\"]", true)),
                4 => drop((client.next_frame(), client.next_payload())),
                5 => client.close(),
                _ => {}
            }
        }
        client.close();
        let frames = sent(&mut client).len();
        prop_assert!(frames <= 128 && client.next_frame().is_none());
    }
}
