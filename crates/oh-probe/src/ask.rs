//! One request on a connection of its own, as a visitor.

use std::time::Instant;

use crate::dial::Timed;
use crate::failure::Failure;
use crate::http1::{self, Answer, Header, Request};
use crate::reach::{Reached, Way};

/// Who asks, of whatever is asked.
#[derive(Debug, Clone, Default)]
pub struct Visitor {
    /// The page from which a browser would ask; without one, no `Origin` is sent.
    pub origin: Option<String>,
    /// The `Host` header, where it is another than the target's.
    pub authority: Option<String>,
    /// Further headers.
    pub headers: Vec<Header<'static>>,
}

impl Visitor {
    /// Returns the `Host` header.
    pub fn authority(&self, way: &Way) -> String {
        self.authority.clone().unwrap_or_else(|| way.target.authority())
    }

    /// Returns the same visitor with a further header; without it, where its value could be none.
    #[must_use]
    pub fn with(&self, name: &'static str, value: String) -> Self {
        let mut other = self.clone();
        other.headers.extend(Header::new(name, value));
        other
    }
}

/// Asks for path and query by a method without a body.
pub async fn ask(
    way: &Way,
    visitor: &Visitor,
    method: &str,
    target: &str,
) -> Timed<Result<Answer, Failure>> {
    let mut reached = way.reach().await;
    let began = Instant::now();
    let value = match reached.stream.take() {
        None => Err(unreached(&reached)),
        Some(mut stream) => {
            let authority = visitor.authority(way);
            let mut request = Request { method, ..Request::get(target, &authority) };
            let origin = visitor.origin.as_deref();
            request.headers.extend(origin.and_then(|origin| Header::new("Origin", origin)));
            request.headers.extend(visitor.headers.iter().cloned());
            http1::exchange(&mut stream, &request, &way.limits).await
        }
    };
    Timed { took: began.elapsed(), value }
}

/// Says why there is no stream.
pub(crate) fn unreached(reached: &Reached) -> Failure {
    reached.failure().unwrap_or_else(|| Failure::Other("there is no connection".to_owned()))
}
