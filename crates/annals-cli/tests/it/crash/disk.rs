use annals_testbed::disk::{Disk, may_mount};

use super::load::{Kind, Load};

/// Mounts a small disk at `small` in the installation: so many KiB are free, and ten
/// times as many can be freed.
fn mount(load: &Load, free: usize) -> Disk {
    Disk::mount(&load.path("small"), free, 10 * free)
}

#[test]
fn a_full_disk_under_the_queue() {
    if !may_mount("crash::disk::a_full_disk_under_the_queue") {
        return;
    }
    let mut load = Load::new("transport = \"sqlite:small/queue.db\"\n");
    let disk = mount(&load, 1024);
    load.begin(Kind::Recorder);
    load.begin(Kind::Recorder);
    load.wait_until_said(Kind::Recorder, "database or disk is full");
    assert!(load.said(Kind::Recorder).contains("(free disk space)"));
    load.kill(Kind::Recorder);
    disk.free();
    load.begin_all();
    load.wait_for_acknowledged(200);
    load.check("small/queue.db", "annals-data/store.db");
}

#[test]
fn a_full_disk_under_the_store() {
    if !may_mount("crash::disk::a_full_disk_under_the_store") {
        return;
    }
    let mut load = Load::new("store = \"sqlite:small/store.db\"\n");
    let disk = mount(&load, 3 * 1024);
    load.begin_all();
    // By both workers: the one that is left has something to go on from.
    load.wait_until_said_by(2, Kind::Worker, "database or disk is full");
    assert!(load.said(Kind::Worker).contains("(free disk space)"));
    load.kill(Kind::Worker);
    load.wait_for_acknowledged(300);
    disk.free();
    load.begin(Kind::Worker);
    load.wait_until_said(Kind::Worker, "going on");
    load.check("annals-data/queue.db", "small/store.db");
}
