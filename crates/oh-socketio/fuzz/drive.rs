//! A connection that is given any bytes: by the fuzzer, and by the test that goes over its corpus.

use oh_socketio::client::{Client, Incoming, Options, State, Transport};
use oh_socketio::engine::Frame;
use oh_socketio::socket::{connected_sid, event_arguments, event_name, refusal};

/// What stands between two frames: no text has it.
const END_OF_FRAME: u8 = 0xff;

/// Gives the frames one after the other; an empty one is a moment at which the client does something.
///
/// # Panics
/// Where something is taken behind the end, or a connection with a fault goes on.
pub(crate) fn drive(bytes: &[u8]) {
    let transport =
        if bytes.first() == Some(&b'p') { Transport::Polling } else { Transport::WebSocket };
    let mut client = Client::new(Options { transport, ..Options::default() });
    let frames = bytes.get(1..).unwrap_or_default().split(|byte| *byte == END_OF_FRAME);
    for (frame, now_ms) in frames.zip(0..) {
        let was_closed = client.state() == State::Closed;
        let taken = match core::str::from_utf8(frame) {
            Ok("") => {
                act(&mut client);
                continue;
            }
            Ok(text) if client.transport() == Transport::Polling && text != "3probe" => {
                client.receive_payload(text, now_ms)
            }
            Ok(text) => client.receive(Frame::Text(text.into()), now_ms).map(|one| vec![one]),
            Err(_) => client.receive(Frame::Binary(frame.into()), now_ms).map(|one| vec![one]),
        };
        assert!(taken.is_err() || !was_closed, "something was taken behind the end");
        assert!(taken.is_ok() || client.state() == State::Closed, "a fault ends the connection");
        for incoming in taken.unwrap_or_default() {
            look(&incoming);
        }
    }
    client.close();
    while client.next_frame().is_some() || client.next_payload().is_some() {}
}

fn act(client: &mut Client) {
    drop((client.next_frame(), client.next_payload(), client.emit(r#"["a"]"#, true)));
    drop((client.probe(), client.upgrade()));
}

fn look(incoming: &Incoming<'_>) {
    match incoming {
        Incoming::Event { data, .. } | Incoming::Ack { data, .. } => {
            drop((event_name(data), event_arguments(data, 4)));
        }
        Incoming::Refused { data } => {
            drop((refusal(data.as_deref()), connected_sid(data.as_deref())));
        }
        _ => {}
    }
}
