//! The table of operations. A route exists only as an [`Operation`], which names its scope, its
//! parameters and its answers; router, OpenAPI document, reference page and the test of every
//! operation's access are made from the same table.

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};

use crate::{scope::Scope, service::Shared};

/// A media type with its schema.
#[derive(Clone, Debug)]
pub struct Media {
    /// For example `application/json`.
    pub content_type: &'static str,
    /// What it holds; anything when absent.
    pub schema: Option<Schema>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// HTTP method.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Stable name, for clients and the audit log.
    pub id: &'static str,
    /// What a key needs.
    pub scope: Scope,
    /// Whether a key for one customer may use it for that customer.
    pub for_customers: bool,
    /// What it is about.
    pub tag: &'static str,
    /// In a few words.
    pub summary: &'static str,
    /// In more words.
    pub description: &'static str,
    /// Parameters in the query, as properties of one schema.
    pub query: Option<Schema>,
    /// Bodies it takes.
    pub bodies: Vec<Media>,
    /// Answers: status, meaning, media.
    pub answers: Vec<(u16, &'static str, Option<Media>)>,
    /// Whether the body is read by the handler as it comes, whatever its size.
    pub streams: bool,
    /// Whether an `If-Match` header is looked at.
    pub if_match: bool,
    /// Whether its answer may be kept for a repeated request.
    pub keeps_answer: bool,
}

impl Operation {
    /// Whether it changes something.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Whether it takes an `Idempotency-Key`. Events carry their own keys; asking changes nothing.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.changes()
            && self.scope != Scope::Public
            && !self.streams
            && !matches!(self.scope, Scope::Quota | Scope::Read)
    }
}

/// Operations as they are being registered.
pub struct Routes {
    pub(crate) generator: SchemaGenerator,
    pub(crate) operations: Vec<(Operation, MethodRouter<Shared>)>,
    tag: &'static str,
}

impl Default for Routes {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into());
        Self { generator: settings.into_generator(), operations: Vec::new(), tag: "" }
    }
}

/// An operation that is being described.
pub struct Entry<'a> {
    operation: &'a mut Operation,
    generator: &'a mut SchemaGenerator,
}

impl Routes {
    /// What the following operations are about.
    pub(crate) fn about(&mut self, tag: &'static str) {
        self.tag = tag;
    }

    fn add<H, T>(
        &mut self,
        method: Method,
        (path, id): (&'static str, &'static str),
        scope: Scope,
        handler: H,
    ) -> Entry<'_>
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let operation = Operation {
            method,
            path,
            id,
            scope,
            for_customers: false,
            tag: self.tag,
            summary: "",
            description: "",
            query: None,
            bodies: Vec::new(),
            answers: Vec::new(),
            streams: false,
            if_match: false,
            keeps_answer: true,
        };
        self.operations.push((operation, on(filter, handler)));
        let last = self.operations.len() - 1;
        let Self { generator, operations, .. } = self;
        #[expect(clippy::indexing_slicing, reason = "it was pushed just now")]
        Entry { operation: &mut operations[last].0, generator }
    }

    pub(crate) fn get<H: Handler<T, Shared>, T: 'static>(
        &mut self,
        path: &'static str,
        id: &'static str,
        scope: Scope,
        handler: H,
    ) -> Entry<'_> {
        self.add(Method::GET, (path, id), scope, handler)
    }

    pub(crate) fn post<H: Handler<T, Shared>, T: 'static>(
        &mut self,
        path: &'static str,
        id: &'static str,
        scope: Scope,
        handler: H,
    ) -> Entry<'_> {
        self.add(Method::POST, (path, id), scope, handler)
    }

    pub(crate) fn put<H: Handler<T, Shared>, T: 'static>(
        &mut self,
        path: &'static str,
        id: &'static str,
        scope: Scope,
        handler: H,
    ) -> Entry<'_> {
        self.add(Method::PUT, (path, id), scope, handler)
    }

    pub(crate) fn patch<H: Handler<T, Shared>, T: 'static>(
        &mut self,
        path: &'static str,
        id: &'static str,
        scope: Scope,
        handler: H,
    ) -> Entry<'_> {
        self.add(Method::PATCH, (path, id), scope, handler)
    }

    pub(crate) fn delete<H: Handler<T, Shared>, T: 'static>(
        &mut self,
        path: &'static str,
        id: &'static str,
        scope: Scope,
        handler: H,
    ) -> Entry<'_> {
        self.add(Method::DELETE, (path, id), scope, handler)
    }
}

impl Entry<'_> {
    /// In a few words.
    pub(crate) fn says(self, summary: &'static str) -> Self {
        self.operation.summary = summary;
        self
    }

    /// In more words.
    pub(crate) fn explained(self, description: &'static str) -> Self {
        self.operation.description = description;
        self
    }

    /// Keys for one customer may use it for that customer.
    pub(crate) fn for_customers(self) -> Self {
        self.operation.for_customers = true;
        self
    }

    /// Parameters in the query.
    pub(crate) fn query<T: JsonSchema>(self) -> Self {
        self.operation.query = Some(T::json_schema(self.generator));
        self
    }

    /// A JSON body.
    pub(crate) fn body<T: JsonSchema>(self) -> Self {
        let schema = Some(self.generator.subschema_for::<T>());
        self.operation.bodies.push(Media { content_type: "application/json", schema });
        self
    }

    /// A body of another media type.
    pub(crate) fn takes(self, content_type: &'static str) -> Self {
        self.operation.bodies.push(Media { content_type, schema: None });
        self
    }

    /// A JSON answer.
    pub(crate) fn answers<T: JsonSchema>(self, status: u16, meaning: &'static str) -> Self {
        let schema = Some(self.generator.subschema_for::<T>());
        let media = Media { content_type: "application/json", schema };
        self.operation.answers.push((status, meaning, Some(media)));
        self
    }

    /// An answer of another media type.
    pub(crate) fn gives(
        self,
        status: u16,
        meaning: &'static str,
        content_type: &'static str,
    ) -> Self {
        let media = Media { content_type, schema: None };
        self.operation.answers.push((status, meaning, Some(media)));
        self
    }

    /// An answer without a body.
    pub(crate) fn done(self, meaning: &'static str) -> Self {
        self.operation.answers.push((204, meaning, None));
        self
    }

    /// A problem it can have besides those that all have.
    pub(crate) fn may_fail(self, status: u16, meaning: &'static str) -> Self {
        self.operation.answers.push((status, meaning, None));
        self
    }

    /// The handler reads the body as it comes.
    pub(crate) fn streams(self) -> Self {
        self.operation.streams = true;
        self
    }

    /// `If-Match` is looked at.
    pub(crate) fn if_match(self) -> Self {
        self.operation.if_match = true;
        self
    }

    /// The answer holds a secret and is not kept.
    pub(crate) fn secret(self) -> Self {
        self.operation.keeps_answer = false;
        self
    }
}
