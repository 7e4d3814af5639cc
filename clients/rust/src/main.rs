//! Sends one request to each partner, signed by signerd, and prints what the partner answers.

use std::{env, fs, process::ExitCode};

use reqwest::{Method, Request, header::CONTENT_TYPE};
use signerd_client::signerd::{Error, Signerd, Tls};

fn var(name: &str) -> Result<String, Error> {
    Ok(env::var(name).map_err(|_| format!("{name} is not set"))?)
}

fn url(partner: &str, target: &str) -> Result<reqwest::Url, Error> {
    Ok((var(&format!("{partner}_URL"))? + target).parse()?)
}

fn post(url: reqwest::Url, json: &'static str) -> Request {
    let mut request = Request::new(Method::POST, url);
    request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    *request.body_mut() = Some(json.into());
    request
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Error> {
    let address = var("SIGNERD_ADDRESS")?;
    let tls = if address.starts_with("unix:") {
        None
    } else {
        let pem = |name| Ok::<_, Error>(fs::read_to_string(var(name)?)?);
        Some(Tls { ca: pem("SIGNERD_TLS_CA")?, cert: pem("SIGNERD_TLS_CERT")?, key: pem("SIGNERD_TLS_KEY")? })
    };
    let signerd = Signerd::connect(&address, tls)?;

    let mut code = ExitCode::SUCCESS;
    for partner in env::var("PARTNERS").unwrap_or("noah,noba,noon".into()).split(',') {
        let answer = match partner {
            "noah" => {
                let url = url("NOAH", "/v1/checkout/payin/fiat?Note=caf%C3%A9%20au+lait&PageSize=20")?;
                let request = post(url, r#"{"CustomerID":"c-1","FiatAmount":"10.50","Name":"Zoë"}"#);
                signerd.noah(&var("NOAH_KEY")?, &var("NOAH_URL")?, request).await?
            }
            "noba" => {
                let request = post(url("NOBA", "/v1/transactions?dry=1")?, r#"{"amount":"100","note":"Zoë"}"#);
                signerd.noba(&var("NOBA_KEY")?, &var("NOBA_URL")?, request).await?
            }
            "noon" => {
                let request = Request::new(Method::GET, url("NOON", "/identity/v1/whoami")?);
                signerd.noon(&var("NOON_KEY")?, request).await?
            }
            other => return Err(format!("PARTNERS: {other:?} is none of noah, noba, noon").into()),
        };
        let status = answer.status().as_u16();
        println!("{partner} {status} {}", answer.text().await?.trim_end());
        if status != 200 {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
