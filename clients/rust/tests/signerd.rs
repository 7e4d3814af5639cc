//! The helper between a signerd and a partner that only write down what they get.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use reqwest::{Method, Request};
use signerd_client::signerd::Signerd;
use signerd_client::signerd_v1::signer_service_server::{SignerService, SignerServiceServer};
use signerd_client::signerd_v1::{sign_noah_request_request::Content, *};
use tonic::{Code, Response, Status};
use tower::{ServiceExt, util::BoxCloneSyncService};

type Question = tonic::codegen::http::Request<tonic::body::Body>;

/// A question to signerd, in short.
#[derive(Debug, PartialEq)]
struct Asked {
    key: String,
    request: String, // method and target; for Noon the rejected session
    body: Vec<u8>,
}

/// Answers in signerd's place, counting in the header.
#[derive(Clone, Default)]
struct Scribe {
    asked: Arc<Mutex<Vec<Asked>>>,
    refusals: Arc<Mutex<VecDeque<Status>>>, // then it answers
    gateway: Arc<Mutex<String>>,
    session: Arc<Mutex<Option<String>>>, // or a new one each time
}

impl Scribe {
    fn note(&self, key: String, request: String, body: Vec<u8>) -> Result<usize, Status> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(Asked { key, request, body });
        self.refusals.lock().unwrap().pop_front().map_or(Ok(asked.len()), Err)
    }
}

fn signed(by: &str, n: usize) -> HashMap<String, String> {
    HashMap::from([("X-Signed".to_owned(), format!("{by} {n}"))])
}

#[tonic::async_trait]
impl SignerService for Scribe {
    async fn sign_noah_request(&self, q: tonic::Request<SignNoahRequestRequest>) -> Result<Response<SignNoahRequestResponse>, Status> {
        let q = q.into_inner();
        let Some(Content::Body(body)) = q.content else { return Err(Status::invalid_argument("no body")) };
        let n = self.note(q.key, q.method + " " + &q.path, body)?;
        Ok(Response::new(SignNoahRequestResponse { headers: signed("noah", n), ..Default::default() }))
    }

    async fn compute_noba_signature(
        &self,
        q: tonic::Request<ComputeNobaSignatureRequest>,
    ) -> Result<Response<ComputeNobaSignatureResponse>, Status> {
        let q = q.into_inner();
        let n = self.note(q.key, q.method + " " + &q.path, q.body)?;
        Ok(Response::new(ComputeNobaSignatureResponse { headers: signed("noba", n), ..Default::default() }))
    }

    async fn get_noon_session(&self, q: tonic::Request<GetNoonSessionRequest>) -> Result<Response<GetNoonSessionResponse>, Status> {
        let q = q.into_inner();
        let n = self.note(q.key, q.rejected_session_id, vec![])?;
        Ok(Response::new(GetNoonSessionResponse {
            headers: signed("noon", n),
            session_id: self.session.lock().unwrap().clone().unwrap_or(format!("session-{n}")),
            base_url: self.gateway.lock().unwrap().clone(),
            ..Default::default()
        }))
    }
}

/// What came in on a connection, as it was on the wire.
struct Sent {
    request: String,
    header: String,
    body: Vec<u8>,
}

struct Rig {
    signerd: Signerd,
    scribe: Scribe,
    base: String,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Rig {
    /// Starts a partner that answers with these statuses, and then with 200.
    fn new(statuses: &[u16]) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut statuses) = (sent.clone(), VecDeque::from(statuses.to_vec()));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                kept.lock().unwrap().push(read(&connection));
                let status = statuses.pop_front().unwrap_or(200);
                let head = format!("HTTP/1.1 {status} x\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                connection.write_all(head.as_bytes()).unwrap();
            }
        });
        let scribe = Scribe::default();
        *scribe.gateway.lock().unwrap() = base.clone();
        let service = ServiceExt::<Question>::map_err(SignerServiceServer::new(scribe.clone()), |never| match never {});
        Rig { signerd: Signerd::over(BoxCloneSyncService::new(service)).unwrap(), scribe, base, sent }
    }

    fn request(&self, method: Method, target: &str, body: &str) -> Request {
        let mut request = Request::new(method, (self.base.clone() + target).parse().unwrap());
        *request.body_mut() = Some(body.to_owned().into());
        request
    }

    fn get(&self) -> Request {
        Request::new(Method::GET, self.base.parse().unwrap())
    }

    fn asked(&self) -> usize {
        self.scribe.asked.lock().unwrap().len()
    }

    fn sent(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

fn read(connection: &TcpStream) -> Sent {
    let mut reader = BufReader::new(connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let found = lines.iter().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    Sent { request: lines[0].clone(), header: header("x-signed"), body }
}

#[tokio::test]
async fn noah_signs_the_target_and_body_that_go_out() {
    let rig = Rig::new(&[]);
    let (target, body) = ("/v1/a%2Fb/caf%C3%A9?Note=caf%C3%A9%20au+lait&b=&a&b=2", "{\"Name\": \"Zoë\"}\r\n");
    let answer = rig.signerd.noah("noah-app", &rig.base, rig.request(Method::POST, target, body)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let asked = rig.scribe.asked.lock().unwrap();
    assert_eq!(asked[..], [Asked { key: "noah-app".into(), request: format!("POST {target}"), body: body.into() }]);
    let sent = rig.sent.lock().unwrap();
    assert_eq!(sent[0].request, format!("POST {target} HTTP/1.1"));
    assert_eq!(sent[0].body, body.as_bytes());
    assert_eq!(sent[0].header, "noah 1");
}

#[tokio::test]
async fn noba_signs_the_target_and_body_that_go_out() {
    let rig = Rig::new(&[]);
    let body = r#"{"note":"Zoë"}"#;
    rig.signerd.noba("noba-app", &rig.base, rig.request(Method::PUT, "/v1/x%20y?dry=1", body)).await.unwrap();
    let asked = rig.scribe.asked.lock().unwrap();
    assert_eq!(asked[..], [Asked { key: "noba-app".into(), request: "PUT /v1/x%20y?dry=1".into(), body: body.into() }]);
    let sent = rig.sent.lock().unwrap();
    assert_eq!(sent[0].request, "PUT /v1/x%20y?dry=1 HTTP/1.1");
    assert_eq!(sent[0].body, body.as_bytes());
}

#[tokio::test]
async fn what_the_address_becomes_is_what_is_signed() {
    for target in ["", "/?", "/a/../b", "/a//b/", "/a;v=1?x=%7A", "/?a=b?c/d", "/café?q=é ü", "/#part"] {
        let rig = Rig::new(&[]);
        rig.signerd.noah("noah-app", &rig.base, rig.request(Method::GET, target, "")).await.unwrap();
        let asked = rig.scribe.asked.lock().unwrap();
        assert_eq!(format!("{} HTTP/1.1", asked[0].request), rig.sent.lock().unwrap()[0].request);
    }
}

#[tokio::test]
async fn a_refusal_by_noah_or_noba_is_given_back_at_once() {
    let rig = Rig::new(&[401, 401]);
    assert_eq!(rig.signerd.noah("noah-app", &rig.base, rig.get()).await.unwrap().status(), 401);
    assert_eq!(rig.signerd.noba("noba-app", &rig.base, rig.get()).await.unwrap().status(), 401);
    assert_eq!(rig.sent(), 2);
}

#[tokio::test]
async fn noon_is_asked_once_more_with_the_session_after_the_rejected_one() {
    let rig = Rig::new(&[401]);
    let answer = rig.signerd.noon("noon-app", rig.request(Method::POST, "/identity?a=1", "{}")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let rejected: Vec<_> = rig.scribe.asked.lock().unwrap().iter().map(|q| q.request.clone()).collect();
    assert_eq!(rejected, ["", "session-1"]);
    let sent = rig.sent.lock().unwrap();
    assert_eq!((&*sent[0].header, &*sent[1].header, &*sent[1].body), ("noon 1", "noon 2", &b"{}"[..]));
}

#[tokio::test]
async fn a_refusal_by_noon_that_the_session_did_not_cause_is_given_back_at_once() {
    let rig = Rig::new(&[401]);
    *rig.scribe.session.lock().unwrap() = Some("session-of-today".into());
    assert_eq!(rig.signerd.noon("noon-app", rig.request(Method::POST, "/", "{}")).await.unwrap().status(), 401);
    assert_eq!((rig.scribe.asked.lock().unwrap().len(), rig.sent()), (2, 1));
}

#[tokio::test]
async fn a_second_refusal_by_noon_is_given_back() {
    let rig = Rig::new(&[401, 401]);
    assert_eq!(rig.signerd.noon("noon-app", rig.get()).await.unwrap().status(), 401);
    assert_eq!(rig.sent(), 2);
}

#[tokio::test]
async fn a_stream_is_neither_signed_nor_sent_twice() {
    let rig = Rig::new(&[401]);
    let stream = || {
        let mut request = rig.get();
        let bytes = reqwest::Body::from("streamed");
        *request.body_mut() = Some(reqwest::Body::wrap(bytes));
        request
    };
    assert!(rig.signerd.noah("noah-app", &rig.base, stream()).await.is_err());
    assert_eq!(rig.asked(), 0);
    assert_eq!(rig.signerd.noon("noon-app", stream()).await.unwrap().status(), 401);
    assert_eq!(rig.sent(), 1);
}

#[tokio::test]
async fn a_session_goes_to_its_gateway_only() {
    let rig = Rig::new(&[]);
    *rig.scribe.gateway.lock().unwrap() = "https://noon-api-gateway.noon.partners".into();
    assert!(rig.signerd.noon("noon-app", rig.get()).await.is_err());
    assert_eq!(rig.sent(), 0);
}

#[tokio::test]
async fn a_request_for_another_scheme_host_or_port_is_refused_before_signerd_is_asked() {
    let rig = Rig::new(&[]);
    let (tls, name) = (rig.base.replace("http:", "https:"), rig.base.replace("127.0.0.1", "localhost"));
    for base in [&*tls, &*name, "http://127.0.0.1", "https://api.noah.com", ""] {
        assert!(rig.signerd.noah("noah-app", base, rig.get()).await.is_err(), "{base}");
        assert!(rig.signerd.noba("noba-app", base, rig.get()).await.is_err(), "{base}");
    }
    assert_eq!((rig.asked(), rig.sent()), (0, 0));
}

#[tokio::test]
async fn plain_http_is_for_loopback_hosts_only() {
    let rig = Rig::new(&[]);
    let get = |base: &str| Request::new(Method::GET, base.parse().unwrap());
    for base in ["http://api.noah.com", "http://10.0.0.1", "http://127.0.0.1.noah.com", "http://localhost.noah.com", "http://[::2]"] {
        assert!(rig.signerd.noah("noah-app", base, get(base)).await.is_err(), "{base}");
        assert!(rig.signerd.noba("noba-app", base, get(base)).await.is_err(), "{base}");
    }
    assert_eq!((rig.asked(), rig.sent()), (0, 0));
    // Signerd is asked, and refuses: nothing is sent.
    for base in ["http://127.1.2.3", "http://[::1]:8080", "HTTP://LocalHost:8080", "https://api.noah.com/v1"] {
        rig.scribe.refusals.lock().unwrap().push_back(Status::permission_denied(""));
        let refusal = rig.signerd.noah("noah-app", base, get(base)).await.unwrap_err();
        assert!(refusal.is::<Status>(), "{base}");
    }
    assert_eq!(rig.sent(), 0);
}

#[tokio::test]
async fn a_redirect_is_given_back() {
    let rig = Rig::new(&[307]);
    assert_eq!(rig.signerd.noah("noah-app", &rig.base, rig.get()).await.unwrap().status(), 307);
    assert_eq!(rig.sent(), 1);
}

#[tokio::test]
async fn signerd_is_asked_again_only_while_it_is_unavailable() {
    let rig = Rig::new(&[]);
    rig.scribe.refusals.lock().unwrap().extend([Status::unavailable(""), Status::unavailable("")]);
    assert_eq!(rig.signerd.noah("noah-app", &rig.base, rig.get()).await.unwrap().status(), 200);
    assert_eq!(rig.asked(), 3);
    rig.scribe.refusals.lock().unwrap().push_back(Status::permission_denied(""));
    let refusal = rig.signerd.noah("noah-app", &rig.base, rig.get()).await.unwrap_err();
    assert_eq!(refusal.downcast_ref::<Status>().map(Status::code), Some(Code::PermissionDenied));
    assert_eq!((rig.asked(), rig.sent()), (4, 1));
}
