//! Sends requests to partners with headers that signerd makes for exactly the bytes that go out.

use std::time::Duration;

use reqwest::{Body, Client, Request, Response, StatusCode, Url, header::HeaderName, header::HeaderValue, redirect, retry};
use tonic::codegen::http;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::signerd_v1::{signer_service_client::SignerServiceClient, *};

/// What reaches signerd: a channel, or in tests a service.
type Transport = BoxCloneSyncService<http::Request<tonic::body::Body>, http::Response<tonic::body::Body>, Error>;

const DEADLINE: Duration = Duration::from_secs(10); // for one question to signerd, with its retries
const PARTNER: Duration = Duration::from_secs(60); // for one answer of a partner, unless the request has a timeout

/// The PEM texts of mutual TLS: signerd's authority, and the certificate and key that this program shows.
pub struct Tls {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// Why there is no answer. A refusal by signerd is a [`Status`], a partner out of reach a [`reqwest::Error`]:
/// `downcast_ref` finds them. It holds no header.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Signs requests and sends them, to their partner's base URL only; clones share one connection. Each attempt has headers of
/// its own, and redirects are given back instead of followed, since no signature fits two targets.
#[derive(Clone)]
pub struct Signerd {
    client: SignerServiceClient<Transport>,
    http: Client,
}

impl Signerd {
    /// Uses the signerd at `unix:///path/to.sock`, or at `host:port` with `tls`. It connects at the first request.
    pub fn connect(address: &str, tls: Option<Tls>) -> Result<Signerd, Error> {
        let endpoint = match tls {
            None if address.starts_with("unix:") => Endpoint::from_shared(address.to_owned())?,
            None => return Err("a signerd at host:port needs mutual TLS".into()),
            Some(tls) => Endpoint::from_shared(format!("https://{address}"))?.tls_config(
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(tls.ca)).identity(Identity::from_pem(tls.cert, tls.key)),
            )?,
        };
        let keep_alive = Duration::from_secs(60); // signerd allows 30 and more
        let channel = endpoint.connect_timeout(Duration::from_secs(5)).http2_keep_alive_interval(keep_alive).connect_lazy();
        Self::over(BoxCloneSyncService::new(channel.map_err(Error::from)))
    }

    /// Uses what answers in signerd's place, for tests.
    pub fn over(transport: Transport) -> Result<Signerd, Error> {
        let _ = rustls::crypto::ring::default_provider().install_default(); // unless the program has chosen one
        let http = Client::builder().redirect(redirect::Policy::none()).retry(retry::never()).timeout(PARTNER).build()?;
        Ok(Signerd { client: SignerServiceClient::new(transport), http })
    }

    /// Sends a request to NOAH, at a base URL (`https://`, or `http://` on a loopback host), signed with a key.
    pub async fn noah(&self, key: &str, base: &str, request: Request) -> Result<Response, Error> {
        confine(request.url(), base)?;
        let question = SignNoahRequestRequest {
            key: key.to_owned(),
            method: request.method().to_string(),
            path: target(request.url()),
            content: Some(sign_noah_request_request::Content::Body(body(&request)?)),
            ..Default::default()
        };
        let answer = self.ask(question, async |mut c, q| c.sign_noah_request(q).await).await?;
        self.send(request, answer.headers).await
    }

    /// Sends a request to Noba, at a base URL like NOAH's, signed with a key. The body must be empty, or JSON as `JSON.stringify` writes it.
    pub async fn noba(&self, key: &str, base: &str, request: Request) -> Result<Response, Error> {
        confine(request.url(), base)?;
        let question = ComputeNobaSignatureRequest {
            key: key.to_owned(),
            method: request.method().to_string(),
            path: target(request.url()),
            body: body(&request)?,
            timestamp_millis: None,
        };
        let answer = self.ask(question, async |mut c, q| c.compute_noba_signature(q).await).await?;
        self.send(request, answer.headers).await
    }

    /// Sends a request to Noon with a key's session. When Noon answers 401 it is sent once more, with the session that
    /// signerd has after the rejected one; not when that is the same one, nor when the body is a stream, which cannot be sent again.
    pub async fn noon(&self, key: &str, request: Request) -> Result<Response, Error> {
        let again = request.try_clone();
        let session = self.session(key, &request, String::new()).await?;
        let answer = self.send(request, session.headers).await?;
        let Some(again) = again.filter(|_| answer.status() == StatusCode::UNAUTHORIZED) else { return Ok(answer) };
        let next = self.session(key, &again, session.session_id.clone()).await?;
        if next.session_id == session.session_id {
            return Ok(answer); // signerd has asked Noon, which accepts it: the 401 has another cause
        }
        self.send(again, next.headers).await
    }

    async fn session(&self, key: &str, request: &Request, rejected_session_id: String) -> Result<GetNoonSessionResponse, Error> {
        let question = GetNoonSessionRequest { key: key.to_owned(), rejected_session_id };
        let session = self.ask(question, async |mut c, q| c.get_noon_session(q).await).await?;
        confine(request.url(), &session.base_url)?;
        Ok(session)
    }

    /// Sends with headers that debug output does not show.
    async fn send(&self, mut request: Request, headers: std::collections::HashMap<String, String>) -> Result<Response, Error> {
        for (name, value) in headers {
            let mut value = HeaderValue::try_from(value)?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::try_from(name)?, value);
        }
        Ok(self.http.execute(request).await?)
    }

    /// Asks signerd; again while it is UNAVAILABLE, up to the deadline.
    async fn ask<Q: Clone, A>(
        &self,
        question: Q,
        rpc: impl AsyncFn(SignerServiceClient<Transport>, Q) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, Error> {
        let attempts = async {
            for pause in [100, 200, 400].map(Duration::from_millis) {
                match rpc(self.client.clone(), question.clone()).await {
                    Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(pause).await,
                    answer => return answer,
                }
            }
            rpc(self.client.clone(), question.clone()).await
        };
        let answer = tokio::time::timeout(DEADLINE, attempts).await;
        Ok(answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))?.into_inner())
    }
}

/// Refuses a target elsewhere than at the base URL, and a base URL where others could read the headers on the way.
fn confine(target: &Url, base: &str) -> Result<(), Error> {
    let base = Url::parse(base)?;
    let host = base.host_str().unwrap_or_default();
    let loopback = ["localhost", "[::1]"].contains(&host) || host.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback());
    match base.scheme() {
        _ if target.origin() != base.origin() => Err("the request is for another scheme, host or port than the base URL".into()),
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err("the base URL is not https://, nor http:// and a loopback host".into()),
    }
}

/// The path and query as they go on the wire.
fn target(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

fn body(request: &Request) -> Result<Vec<u8>, Error> {
    let bytes = request.body().map_or(Some(&[][..]), Body::as_bytes);
    Ok(bytes.ok_or("a stream cannot be signed: give the body as bytes")?.to_vec())
}
