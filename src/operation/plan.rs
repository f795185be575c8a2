//! `quorate plan`: what `provision` would change, with a unified diff per file, secrets masked. Changes nothing.

mod text;

use std::sync::Arc;

use serde_json::json;

use super::forecast::forecast;
use super::preflight::network::openings;
use super::{Session, preflight};
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::report::{Format, print, println};

/// Reads, judges, prints. `Error::Pending` if `exit_code` asks for it and something would change.
pub async fn plan(session: &Session, exit_code: bool) -> Result<(), Error> {
    let plan = session.plan("provision")?;
    let meter = Arc::new(Meter::default());
    let hosts = session.connect_all(&plan, &meter).await?;
    let reader = Reader::new(&hosts);
    session.read(&plan, &hosts, &reader).await?;
    preflight::refuse(&session.inventory, &reader.fleet())?;
    let pending = forecast(session, &plan, &reader.fleet())?;
    let ports = openings(&session.inventory);
    match session.settings.format {
        Format::Json => println(&format!(
            "{}",
            json!({ "plan": plan.digest, "tasks": plan.tasks(), "pending": pending, "ports": ports })
        )),
        Format::Table => {
            print(&text::of(&pending, plan.tasks()));
            if session.inventory.etcd.external().is_some() {
                print(&text::ports(&ports));
            }
        }
    }
    if exit_code && !pending.is_empty() {
        Err(Error::Pending)
    } else {
        Ok(())
    }
}
