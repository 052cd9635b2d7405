//! Methods and subscriptions: async functions with arguments of serde.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::client::{Caller, check_topic};
use super::coordinate::BoxFuture;
use crate::wire::nuropb::class;

/// Why a method gives no value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Not now: it is to be called again, here or by another instance, a limited number of times.
    CallAgain(String),
    /// The caller is told this, and the message becomes a dead letter.
    Rejected {
        /// The name of a class, as Python would call it: see [`class`].
        class: String,
        /// For people.
        text: String,
    },
}

impl Failure {
    /// With the name of a class.
    #[must_use]
    pub fn rejected(class: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Rejected { class: class.into(), text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallAgain(why) => write!(f, "call again: {why}"),
            Self::Rejected { class, text } => write!(f, "{class}: {text}"),
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::rejected(class::EXCEPTION, error.to_string())
    }
}

/// Events that go out if the method succeeds.
#[derive(Debug, Clone, Default)]
pub(super) struct Emitted(Arc<Mutex<Vec<(String, Value)>>>);

impl Emitted {
    fn push(&self, topic: String, event: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((topic, event));
    }

    pub(super) fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a method is called with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call<A> {
    /// The arguments, by name.
    pub args: A,
    /// What the caller wants to have known.
    pub context: Map<String, Value>,
    /// What [`Method::authorized`] made of the caller's token; otherwise null.
    pub claims: Value,
    /// The caller's own mark.
    pub trace_id: Option<String>,
    /// The caller's number of the call.
    pub correlation_id: String,
    /// Whether it may have been called before with the same message.
    pub redelivered: bool,
    /// Whether nobody waits for the value.
    pub command: bool,
    /// To call other services.
    pub caller: Caller,
    pub(super) emitted: Emitted,
}

impl<A> Call<A> {
    /// Publishes an event if, and when, the method succeeds, under the call's own numbers.
    ///
    /// # Errors
    ///
    /// Of such a topic nothing can be published; or the value cannot be written as JSON.
    pub fn emit<T: Serialize>(&self, topic: &str, event: &T) -> Result<(), Failure> {
        check_topic(topic)?;
        self.emitted.push(topic.to_owned(), serde_json::to_value(event)?);
        Ok(())
    }

    pub(super) fn with<B>(self, args: B) -> Call<B> {
        let Self { context, claims, trace_id, correlation_id, redelivered, command, .. } = self;
        let (caller, emitted) = (self.caller, self.emitted);
        Call {
            args,
            context,
            claims,
            trace_id,
            correlation_id,
            redelivered,
            command,
            caller,
            emitted,
        }
    }
}

/// What a subscription is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event<T> {
    /// What it is about, words between dots.
    pub topic: String,
    /// What has happened.
    pub event: T,
    /// What the publisher wants to have known.
    pub context: Map<String, Value>,
    /// The publisher's own mark.
    pub trace_id: Option<String>,
    /// The number of the call it comes from, or its own.
    pub correlation_id: String,
    /// Whether somebody may have been told before.
    pub redelivered: bool,
    /// To call other services.
    pub caller: Caller,
}

pub(super) type Handler =
    Arc<dyn Fn(Call<Value>) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;
pub(super) type Hearer =
    Arc<dyn Fn(Event<Value>) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;
pub(super) type Authorizer =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;

/// A parameter, for those who ask what a service can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type, as Python calls it.
    pub kind: String,
    /// What it is if nobody says; none: it has to be said.
    pub default: Option<Value>,
}

/// A method of a service.
pub struct Method {
    pub(super) handler: Handler,
    pub(super) authorizer: Option<Authorizer>,
    pub(super) description: Option<String>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) hidden: bool,
    pub(super) encrypted: bool,
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { description, parameters, hidden, .. } = self;
        let mut debug = f.debug_struct("Method");
        debug.field("description", description).field("parameters", parameters);
        debug.field("hidden", hidden).finish_non_exhaustive()
    }
}

/// What can be made a [`Method`]: one, or an async function.
pub trait IntoMethod<M> {
    /// Makes it.
    fn into_method(self) -> Method;
}

impl IntoMethod<()> for Method {
    fn into_method(self) -> Method {
        self
    }
}

impl<F, Fut, A, R> IntoMethod<(PhantomData<A>, PhantomData<R>)> for F
where
    F: Fn(Call<A>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'static,
    A: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
{
    fn into_method(self) -> Method {
        Method::new(self)
    }
}

impl Method {
    /// From an async function. Its arguments are an object by name.
    pub fn new<F, Fut, A, R>(function: F) -> Self
    where
        F: Fn(Call<A>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
        A: DeserializeOwned + Send + 'static,
        R: Serialize + 'static,
    {
        let function = Arc::new(function);
        let handler = move |mut call: Call<Value>| -> BoxFuture<'static, _> {
            let function = function.clone();
            Box::pin(async move {
                let args = serde_json::from_value(call.args.take()).map_err(|error| {
                    Failure::rejected(class::VALIDATION, format!("the arguments: {error}"))
                })?;
                let value = function(call.with(args)).await?;
                Ok(serde_json::to_value(value)?)
            })
        };
        Self {
            handler: Arc::new(handler),
            authorizer: None,
            description: None,
            parameters: Vec::new(),
            hidden: false,
            encrypted: false,
        }
    }

    /// What it does.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// A parameter that has to be said; its type as Python calls it.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, kind: impl Into<String>) -> Self {
        self.parameters.push(Parameter { name: name.into(), kind: kind.into(), default: None });
        self
    }

    /// A parameter that need not be said.
    #[must_use]
    pub fn optional(
        mut self,
        name: impl Into<String>,
        kind: impl Into<String>,
        default: impl Into<Value>,
    ) -> Self {
        let default = Some(default.into());
        self.parameters.push(Parameter { name: name.into(), kind: kind.into(), default });
        self
    }

    /// It can be called, but whoever asks what the service can do is not told of it.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// It is called only if the call is encrypted; the service needs a key, see
    /// [`Builder::service_key`](super::Builder::service_key).
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn encrypted(mut self) -> Self {
        self.encrypted = true;
        self
    }

    /// It is called only if that function takes the token in the context's `Authorization`; what it
    /// makes of it is [`Call::claims`].
    #[must_use]
    pub fn authorized<F, Fut>(mut self, authorize: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        self.authorizer = Some(Arc::new(move |token| Box::pin(authorize(token))));
        self
    }
}

/// Makes a subscription of an async function.
pub(super) fn hearer<F, Fut, T>(function: F) -> Hearer
where
    F: Fn(Event<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    T: DeserializeOwned + Send + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |told: Event<Value>| {
        let function = function.clone();
        Box::pin(async move {
            let Event { topic, event, context, trace_id, correlation_id, redelivered, caller } =
                told;
            let event = serde_json::from_value(event).map_err(|error| {
                Failure::rejected(class::VALIDATION, format!("the event: {error}"))
            })?;
            let told =
                Event { topic, event, context, trace_id, correlation_id, redelivered, caller };
            function(told).await
        })
    })
}
