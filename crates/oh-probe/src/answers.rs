//! Answers as tests write them.

use crate::http1::Answer;

/// A status, a media type and a body.
pub(crate) type Said<'s> = (u16, &'s str, &'s str);

/// Makes an answer.
pub(crate) fn answer((status, media_type, body): Said<'_>) -> Answer {
    Answer {
        status,
        headers: vec![("Content-Type".to_owned(), media_type.to_owned())],
        body: body.as_bytes().to_vec(),
        is_whole: true,
        rest: Vec::new(),
    }
}
