//! What real servers do otherwise than the specification, and is taken all the same.

/// A server's dialect of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// The reference: engine.io and socket.io on Node.
    Node,
    /// python-engineio and python-socketio, which OpenHands uses.
    Python,
    /// A server of Socket.IO 2, which speaks Engine.IO 3.
    Former,
}

/// Something that is not as the specification has it, and that a server in use does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deviation {
    /// Events come before the server has said that the client is connected: OpenHands sends a conversation
    /// again from within the handler that decides whether the client may connect. Who drops them loses it.
    EventBeforeConnect,
    /// The interval of the heartbeat is zero: python-engineio cuts it to whole seconds.
    NoPingInterval,
    /// A refusal is a text, where an object with a `message` has to be.
    RefusalAsText,
    /// A refusal has nothing in it, or something that is neither text nor an object.
    RefusalAsOther,
    /// `6` comes over a WebSocket; it is there to end a poll.
    NoopOverWebSocket,
    /// A poll that took packets is answered `OK`, where the reference says `ok`.
    PostAnsweredInCapitals,
    /// The server says that the client is connected, and no id.
    ConnectWithoutSid,
}

impl Deviation {
    /// Says which server is known to do so.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::EventBeforeConnect
            | Self::NoPingInterval
            | Self::RefusalAsText
            | Self::RefusalAsOther
            | Self::NoopOverWebSocket
            | Self::PostAnsweredInCapitals => Dialect::Python,
            Self::ConnectWithoutSid => Dialect::Former,
        }
    }

    /// Says it in a few words.
    pub const fn what(self) -> &'static str {
        match self {
            Self::EventBeforeConnect => "events come before the connection is confirmed",
            Self::NoPingInterval => "the interval of the heartbeat is given as zero",
            Self::RefusalAsText => "a refusal is a text and no object",
            Self::RefusalAsOther => "a refusal says no reason",
            Self::NoopOverWebSocket => "a noop comes over the WebSocket",
            Self::PostAnsweredInCapitals => "a post is answered \"OK\" and not \"ok\"",
            Self::ConnectWithoutSid => "the connection is confirmed without an id",
        }
    }
}
