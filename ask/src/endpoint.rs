//! An endpoint that speaks `OpenAI`'s protocol for chats and sees pictures.

use std::fmt;
use std::time::{Duration, Instant};

use footage_model::conversation::Turn;
use serde_json::Value;

use crate::AskError;
use crate::conversation::Reply;
use crate::events::Events;
use crate::http::{Place, Receiving};
use crate::masking::{MASK, Masking};
use crate::message::{Said, request, written};

/// What lets us in. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Of a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Which endpoint, and how it is asked.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// Section of the settings that the key is in, for errors: `ask` or `caption`.
    pub section: &'static str,
    /// Address of the API, such as `http://localhost:8000/v1`.
    pub address: String,
    /// Name of the model there; empty for the endpoint's own choice.
    pub model: String,
    /// What lets us in, where something is needed.
    pub key: Option<Key>,
    /// Longest wait for a connection, for the first words of an answer and for more of them. A whole
    /// answer may take ten times as long.
    pub timeout: Duration,
    /// How often it is asked again where it cannot be reached, is busy or fails.
    pub retries: u32,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// 0 takes the likeliest word each time.
    pub temperature: f32,
    /// Share of the probability that is drawn from.
    pub top_p: f32,
}

/// An endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    place: Place,
    settings: EndpointSettings,
}

/// First wait before asking again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// However long an endpoint asks us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Most bytes of an answer, and of what is shown of an error.
const LONGEST_ANSWER: usize = 1 << 20;
const LONGEST_COMPLAINT: usize = 300;

/// Most bytes of an error that are read.
const LONGEST_ERROR: usize = 8 << 10;

/// Most letters of what a model calls itself.
const LONGEST_NAME: usize = 100;

/// A whole answer may take so many timeouts, however steadily it comes.
const MOST_TIMEOUTS: u32 = 10;

impl Endpoint {
    /// Checks the address. Nothing is sent.
    pub fn new(settings: EndpointSettings) -> Result<Self, AskError> {
        Ok(Self { place: Place::read(&settings.address, settings.section)?, settings })
    }

    /// Model and place, for people.
    pub fn name(&self) -> String {
        let place = self.place.name();
        match self.settings.model.as_str() {
            "" => place,
            model => format!("{model} at {place}"),
        }
    }

    /// Answers the last of `turns` about frames, given as parts of a message. `on_text` hears of the
    /// answer as it grows. Asks again only where nothing of an answer came.
    pub(crate) async fn answer(
        &self,
        shown: &[Value],
        turns: &[Turn],
        on_text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Reply, AskError> {
        self.send(&request(&self.settings, shown, turns), on_text).await
    }

    /// Replies to a text, with no pictures: `system` says what to do.
    pub(crate) async fn say(&self, system: &str, text: &str) -> Result<Reply, AskError> {
        self.send(&written(&self.settings, system, text), &mut |_| ()).await
    }

    async fn send(
        &self,
        body: &Value,
        on_text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Reply, AskError> {
        let body = body.to_string().into_bytes();
        let began = Instant::now();
        let mut attempt = 0;
        loop {
            let whole = self.settings.timeout * MOST_TIMEOUTS;
            let once = self.once(body.clone(), began, on_text);
            let error = match tokio::time::timeout(whole, once).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) => error,
                Err(_) => self.place.timed_out("end of its answer", whole),
            };
            if attempt >= self.settings.retries || !error.may_pass() {
                return Err(error);
            }
            let asked = match &error {
                AskError::Busy { wait, .. } => *wait,
                _ => None,
            };
            let wait =
                asked.unwrap_or(FIRST_WAIT * 2_u32.saturating_pow(attempt)).min(LONGEST_WAIT);
            tracing::info!(%error, wait_s = wait.as_secs_f32(), "asking again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        body: Vec<u8>,
        began: Instant,
        on_text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Reply, AskError> {
        let EndpointSettings { key, timeout, .. } = &self.settings;
        let key = key.as_ref().map(|key| key.0.as_str());
        let mut reply = self.place.post("/chat/completions", key, body, *timeout).await?;
        let status = reply.head.status().as_u16();
        if status != 200 {
            return Err(self.refused(status, &mut reply).await);
        }
        let kind = reply.head.headers().get("content-type");
        let is_stream = kind
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut hearing = Hearing {
            endpoint: self,
            on_text,
            heard: Heard::default(),
            masking: Masking::of(key),
            began,
            last_text: tokio::time::Instant::now(),
        };
        let heard = if is_stream {
            hearing.stream(&mut reply).await
        } else {
            hearing.whole(&mut reply).await
        };
        // Of an answer that broke off, too, people hear as much as came.
        hearing.hear_rest();
        heard?;
        Ok(hearing.reply())
    }

    async fn refused(&self, status: u16, reply: &mut Receiving) -> AskError {
        let wait = reply.head.headers().get("retry-after");
        let wait = wait.and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        let mut said = reply.begin(LONGEST_ERROR, self.settings.timeout).await;
        if let (Some(Key(key)), LONGEST_ERROR) = (&self.settings.key, said.len()) {
            // What was cut may have cut the key, should it be repeated there.
            said.truncate(LONGEST_ERROR.saturating_sub(key.len()));
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let place = self.place.name();
        match status {
            401 | 403 => AskError::Key { place, status, section: self.settings.section },
            429 | 503 => {
                let wait = wait.map(Duration::from_secs);
                AskError::Busy { place, status, said: self.complaint(&said), wait }
            }
            _ => AskError::Status { place, status, said: self.complaint(&said) },
        }
    }

    /// What an endpoint says that is wrong: the message where there is one, in one line, without the
    /// key, should it be repeated there.
    fn complaint(&self, said: &str) -> String {
        let json: Option<Value> = serde_json::from_str(said).ok();
        let message = json.as_ref().and_then(|json| {
            let error = json.get("error").unwrap_or(json);
            error.get("message").unwrap_or(error).as_str()
        });
        let message = message.unwrap_or(said).split_whitespace().collect::<Vec<_>>().join(" ");
        let message = match &self.settings.key {
            Some(Key(key)) if !key.is_empty() => message.replace(key.as_str(), MASK),
            _ => message,
        };
        let mut short: String = message.chars().take(LONGEST_COMPLAINT).collect();
        if short.len() < message.len() {
            short.push('…');
        }
        if short.is_empty() { short } else { format!(": {short}") }
    }
}

#[derive(Debug, Default)]
struct Heard {
    text: String,
    model: Option<String>,
    tokens: Option<usize>,
    pieces: usize,
    first: Option<Duration>,
}

/// Listens to one answer.
struct Hearing<'a> {
    endpoint: &'a Endpoint,
    on_text: &'a mut (dyn FnMut(&str) + Send),
    heard: Heard,
    masking: Masking<'a>,
    began: Instant,
    /// When something of the answer came last. Whatever else comes is not waited for any longer.
    last_text: tokio::time::Instant,
}

impl Hearing<'_> {
    async fn next(
        &mut self,
        reply: &mut Receiving,
    ) -> Result<Option<hyper::body::Bytes>, AskError> {
        let timeout = self.endpoint.settings.timeout;
        match tokio::time::timeout_at(self.last_text + timeout, reply.next()).await {
            Ok(next) => next,
            // Once a part of the answer came, silence is its end, and not that of a busy endpoint.
            Err(_) if self.heard.first.is_some() => {
                Err(AskError::BrokeOff { place: self.endpoint.place.name() })
            }
            Err(_) => Err(self.endpoint.place.timed_out("answer", timeout)),
        }
    }

    async fn stream(&mut self, reply: &mut Receiving) -> Result<(), AskError> {
        let mut events = Events::default();
        let mut has_ended = false;
        while let Some(bytes) = self.next(reply).await? {
            let pushed = events.push(&bytes).map_err(|_| self.nonsense(""))?;
            for data in pushed {
                if data.trim() == "[DONE]" {
                    return self.ended(true);
                }
                has_ended |= self.take(&data)?;
            }
        }
        self.ended(has_ended)
    }

    /// An endpoint that does not stream.
    async fn whole(&mut self, reply: &mut Receiving) -> Result<(), AskError> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next(reply).await? {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST_ANSWER {
                return Err(self.nonsense(""));
            }
        }
        self.take(&String::from_utf8_lossy(&body))?;
        self.ended(true)
    }

    /// Returns whether the answer ends with it.
    fn take(&mut self, data: &str) -> Result<bool, AskError> {
        let Ok(said) = serde_json::from_str::<Said>(data) else { return Err(self.nonsense(data)) };
        if said.error.is_some() {
            let (place, said) = (self.endpoint.place.name(), self.endpoint.complaint(data));
            return Err(AskError::Failed { place, said });
        }
        if !said.is_completion() {
            return Err(self.nonsense(data));
        }
        let text = said.text();
        if !text.is_empty() {
            self.heard.first.get_or_insert_with(|| self.began.elapsed());
            self.heard.pieces += 1;
            self.last_text = tokio::time::Instant::now();
            let text = self.masking.push(text);
            self.hear(&text);
            if self.heard.text.len() > LONGEST_ANSWER {
                return Err(self.nonsense(""));
            }
        }
        self.heard.tokens = said.tokens().or(self.heard.tokens);
        let ends = said.ends();
        // Masked before it is cut: half a key is not found.
        let short = |name: String| self.masking.whole(&name).chars().take(LONGEST_NAME).collect();
        self.heard.model = self.heard.model.take().or(said.model.map(short));
        Ok(ends)
    }

    fn hear(&mut self, text: &str) {
        if !text.is_empty() {
            self.heard.text.push_str(text);
            (self.on_text)(text);
        }
    }

    /// What was held back because the key may have begun in it.
    fn hear_rest(&mut self) {
        let rest = self.masking.rest();
        self.hear(&rest);
    }

    fn ended(&mut self, has_ended: bool) -> Result<(), AskError> {
        self.hear_rest();
        let place = self.endpoint.place.name();
        if !has_ended {
            return Err(AskError::BrokeOff { place });
        }
        if self.heard.text.trim().is_empty() {
            return Err(AskError::NoAnswer { place });
        }
        Ok(())
    }

    fn nonsense(&self, said: &str) -> AskError {
        let said = self.endpoint.complaint(said);
        AskError::Nonsense { place: self.endpoint.place.name(), said }
    }

    fn reply(self) -> Reply {
        let whole = self.began.elapsed();
        let Heard { text, model, tokens, pieces, first } = self.heard;
        Reply {
            text: text.trim().to_owned(),
            model: model.unwrap_or_else(|| self.endpoint.name()),
            tokens: tokens.unwrap_or(pieces),
            first_token: first.unwrap_or(whole),
            whole,
        }
    }
}
