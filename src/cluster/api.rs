//! The Kubernetes API, asked on a master with `curl`.
//!
//! The credential is the apiserver's own client certificate for kubelets: it lies on every master, and kubeadm gives it
//! cluster-admin rights (through `system:masters`, from 1.29 on through `kubeadm:cluster-admins`). Bodies travel over
//! standard input, so a Secret never stands in an argument, and answers that might hold secrets are asked for as metadata only.

use serde_json::Value;

use super::report::ask;
use crate::host::Host;
use crate::host::command::{Command, Script};
use crate::host::error::HostError;
use crate::inventory::Node;

const BODY: &str = r#"
address=$1 method=$2 path=$3 type=$4
pki=/etc/kubernetes/pki
set -- -sS --max-time 30 -A quorate --cacert $pki/ca.crt \
    --cert $pki/apiserver-kubelet-client.crt --key $pki/apiserver-kubelet-client.key \
    -X "$method" -H 'Accept: application/json' -w '\n%{http_code}'
if [ -n "$type" ]; then
    set -- "$@" -H "Content-Type: $type" --data-binary @-
fi
exec curl "$@" "https://$address:6443$path"
"#;

const METADATA: &str = concat!(
    ask!(),
    r#"
address=$1 path=$2
pki=/etc/kubernetes/pki
if ! [ -e $pki/apiserver-kubelet-client.key ] || ! [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ]; then
    echo absent
    exit 0
fi
case $path in
*/secrets) accept='application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io' ;;
*/secrets[/?]*) exit 64 ;;
*) accept=application/json ;;
esac
ask $(key) --cacert $pki/ca.crt --cert $pki/apiserver-kubelet-client.crt --key $pki/apiserver-kubelet-client.key \
    -H "Accept: $accept" "https://$address:6443$path"
"#
);

/// A read-only question as a probe on a master; its output reads as an [`Answer`](super::report::Answer). Secrets can only be
/// listed, and only their metadata is asked for (an apiserver answers 406 where a list is asked for as a single object).
#[must_use]
pub fn question(master: &Node, path: &str) -> Script {
    Script::new("kubernetes-api-read", METADATA)
        .arg(master.address.to_string())
        .arg(path)
}

/// What a request does.
#[derive(Debug, Clone)]
pub enum Request<'a> {
    /// Reads.
    Get,
    /// Removes.
    Delete,
    /// Makes an object.
    Post(&'a Value),
    /// Merges into an object.
    MergePatch(&'a Value),
    /// Replaces or makes an object, whoever owned its fields before.
    Apply(&'a Value),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub code: u16,
    /// Its body.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }
}

/// Sends a request to the apiserver of a master. Any HTTP status is an answer.
pub async fn send(master: &Host, path: &str, request: Request<'_>) -> Result<Response, HostError> {
    let (method, kind, body) = match request {
        Request::Get => ("GET", "", None),
        Request::Delete => ("DELETE", "", None),
        Request::Post(body) => ("POST", "application/json", Some(body)),
        Request::MergePatch(body) => ("PATCH", "application/merge-patch+json", Some(body)),
        Request::Apply(body) => ("PATCH", "application/apply-patch+yaml", Some(body)),
    };
    let script = Script::new("kubernetes-api", BODY)
        .arg(master.node.address.to_string())
        .arg(method)
        .arg(path)
        .arg(kind);
    let mut command = Command::script(script);
    if let Some(body) = body {
        command = command.stdin(body.to_string());
    }
    let text = master.succeed(&command).await?.text();
    let (body, code) = text.trim_end().rsplit_once('\n').unwrap_or(("", &text));
    let code = code.trim().parse().map_err(|_| HostError::Garbled {
        host: master.node.name.clone(),
        during: command.to_string(),
        reason: "there is no HTTP status at its end".to_owned(),
    })?;
    Ok(Response {
        code,
        body: body.to_owned(),
    })
}

/// Sends a request and refuses any status but those of success, and `also`.
pub async fn succeed(
    master: &Host,
    path: &str,
    request: Request<'_>,
    also: u16,
) -> Result<Response, HostError> {
    let what = format!("{} {path}", method(&request));
    let response = send(master, path, request).await?;
    if (200..300).contains(&response.code) || response.code == also {
        return Ok(response);
    }
    Err(HostError::Command {
        host: master.node.name.clone(),
        command: what,
        status: format!("HTTP status {}", response.code),
        output: message(&response),
    })
}

fn method(request: &Request<'_>) -> &'static str {
    match request {
        Request::Get => "GET",
        Request::Delete => "DELETE",
        Request::Post(_) => "POST",
        Request::MergePatch(_) | Request::Apply(_) => "PATCH",
    }
}

/// What the apiserver says is wrong; never the object itself.
#[must_use]
pub fn message(response: &Response) -> String {
    let json = response.json();
    let message = json
        .as_ref()
        .and_then(|status| status.get("message"))
        .and_then(Value::as_str);
    crate::text::last_lines(message.unwrap_or_default().as_bytes())
}
