//! A request: a call by a client, such as a browser. No queue stands behind it that would hand it out again.

use std::time::Duration;

use super::Job;

/// How long a client waits before it repeats a request that failed.
pub(crate) const CLIENT_PAUSE: Duration = Duration::from_secs(1);

/// A request of a client, with the repetitions that the client sends if the request fails or is not answered.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Request {
    /// The bodies of the client's repetitions, in their order.
    pub(crate) repetitions: Vec<Box<str>>,
    /// Which body it has whatever the attempt; 0 is the first one.
    pub(crate) body: Option<usize>,
}

impl Job {
    /// Returns the request, if the job is one.
    pub(crate) fn request(&self) -> Option<&Request> {
        self.extras.as_ref().and_then(|extras| extras.request.as_deref())
    }

    /// Whether the client repeats the request if the attempt under way fails.
    pub(crate) fn is_repeated(&self) -> bool {
        self.request().is_some_and(|request| self.attempts as usize <= request.repetitions.len())
    }

    /// The bodies that the client has sent, each once; 0 is the first one.
    pub(crate) fn bodies(&self) -> Vec<usize> {
        let Some(request) = self.request() else { return vec![0] };
        let sent = |at: usize| match at {
            0 => &self.payload,
            at => &request.repetitions[at - 1],
        };
        let count = (self.attempts as usize).clamp(1, request.repetitions.len() + 1);
        (0..count).filter(|&at| (0..at).all(|earlier| sent(earlier) != sent(at))).collect()
    }

    /// Gives a request this body, whatever the attempt.
    pub(crate) fn set_body(&mut self, body: usize) {
        let request = self.extras.as_mut().and_then(|extras| extras.request.as_mut());
        request.into_iter().for_each(|request| request.body = Some(body));
    }

    /// Takes out what its handler decodes.
    pub(crate) fn lend_body(&mut self) -> Box<str> {
        std::mem::take(self.body_mut())
    }

    /// Puts it back.
    pub(crate) fn give_back_body(&mut self, body: Box<str>) {
        *self.body_mut() = body;
    }

    fn body_mut(&mut self) -> &mut Box<str> {
        let last = (self.attempts as usize).saturating_sub(1);
        match self.extras.as_mut().and_then(|extras| extras.request.as_deref_mut()) {
            Some(Request { repetitions, body }) if !repetitions.is_empty() => {
                match body.unwrap_or(last).min(repetitions.len()) {
                    0 => &mut self.payload,
                    at => &mut repetitions[at - 1],
                }
            }
            _ => &mut self.payload,
        }
    }
}
