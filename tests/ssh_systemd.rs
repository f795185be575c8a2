//! The parts of the transport that need systemd, on a lab that is already there: `QUORATE_LAB=.lab cargo test --test
//! ssh_systemd -- --ignored --nocapture`. The end-to-end test runs the same cases on its own lab.

mod systemd;

use systemd::Target;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a lab; the end-to-end test covers it"]
async fn jobs_undo_and_the_lock() {
    let lab = std::env::var("QUORATE_LAB").expect("QUORATE_LAB names the lab's directory");
    let inventory = camino::Utf8PathBuf::from(lab).join("inventory.yaml");
    systemd::all(&Target::of(&inventory)).await;
}
