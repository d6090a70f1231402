//! Who asks: a handler that names a [`Viewer`] or an [`Operator`] among its arguments is for those alone.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload};

use super::problem::Problem;

/// Somebody who may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer(Caller);

/// Somebody who may change things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(Caller);

/// Somebody, as the operator log names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of their token; without tokens, `anonymous`.
    pub name: String,
    /// Where the request came from.
    pub address: String,
}

impl Operator {
    /// Who it is, for the operator log.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

impl Viewer {
    /// Who it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

fn caller(request: &HttpRequest) -> Caller {
    let address = request.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
    Caller { name: "anonymous".into(), address }
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(caller(request))))
    }
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(caller(request))))
    }
}
