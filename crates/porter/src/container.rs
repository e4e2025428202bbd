//! What a container of ours is: its name, labels, volumes, network and limits. It asks nobody, and all of it comes from the
//! operator's `envs.json` and from the constants here.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tinyclaw_devbox::HelperId;
use tinyclaw_domain::{ContainerEnv, EnvName};

/// Says which environment a thing of Docker's belongs to. Filtered by its exact value: a filter by name takes `dev2` for `dev`.
pub(crate) const LABEL: &str = "tinyclaw.env";
/// Says what it was made of: of something else it is made anew.
pub(crate) const LABEL_MADE_OF: &str = "tinyclaw.made-of";
/// Who everything runs as in it.
pub(crate) const USER: u32 = 10001;
/// Where the helper is in it, read-only.
pub(crate) const HELPER_DIR: &str = "/tinyclaw";
pub(crate) const HELPER_NAME: &str = "tinyclaw-leash";
/// The HOME of its user: the login, sessions and locks. In a volume that begins above it, which is not theirs.
pub(crate) const HOME_DIR: &str = "/home/tinyclaw";
pub(crate) const HOME_NAME: &str = "agent";
/// So many processes and threads at once. A build takes some hundred.
const PIDS_MAX: u32 = 1024;
/// What may lie in `/tmp`, which is memory.
const TMP: &str = "rw,nosuid,nodev,exec,mode=1777,size=1g";

/// The container of an environment.
pub(crate) fn name(env: &EnvName) -> String {
    format!("claude-agent-{env}")
}

/// A container that is made to fill the volumes of an environment, never started, and removed.
pub(crate) fn filler_name(env: &EnvName) -> String {
    format!("claude-agent-{env}.filler")
}

/// The network of an environment: nobody else is in it.
pub(crate) fn network(env: &EnvName, egress: bool) -> String {
    format!("tinyclaw-{env}-{}", if egress { "out" } else { "in" })
}

/// What is written on a network when it is made.
pub(crate) fn network_body(env: &EnvName, egress: bool) -> Value {
    json!({
        "Name": network(env, egress), "Driver": "bridge", "Internal": !egress, "Attachable": false,
        "Labels": { LABEL: env },
    })
}

/// A command that runs the helper, in a container that runs: a hub, for the one who asked. It is always this one.
pub(crate) fn hub_body() -> Value {
    json!({
        "AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Tty": false, "Privileged": false,
        "User": user(), "WorkingDir": "/", "Cmd": [helper(), "hub", "--container"],
        "Env": [format!("HOME={}", home())],
    })
}

fn user() -> String {
    format!("{USER}:{USER}")
}

fn helper() -> String {
    format!("{HELPER_DIR}/{HELPER_NAME}")
}

fn home() -> String {
    format!("{HOME_DIR}/{HOME_NAME}")
}

/// What a container is made of: what the operator says of it, the image as it is now, and our helper.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    pub(crate) name: &'a EnvName,
    pub(crate) env: &'a ContainerEnv,
    /// The image's own id: its name may stand for another one tomorrow.
    pub(crate) image_id: &'a str,
    pub(crate) helper: &'a HelperId,
}

impl Recipe<'_> {
    /// The container itself.
    pub(crate) fn body(&self) -> Value {
        let mut body = self.plain_body();
        body["Labels"][LABEL_MADE_OF] = self.made_of().into();
        body
    }

    /// The same volumes, writable, in a container that never runs.
    pub(crate) fn filler_body(&self) -> Value {
        json!({
            "Image": self.image_id, "Entrypoint": [helper()], "Cmd": ["rest"], "Labels": { LABEL: self.name },
            "HostConfig": { "NetworkMode": "none", "Mounts": self.mounts(false) },
        })
    }

    /// Tells one recipe from another.
    pub(crate) fn made_of(&self) -> String {
        let text = format!("{}\n{}", self.plain_body(), self.helper);
        Sha256::digest(text.as_bytes()).iter().take(16).map(|it| format!("{it:02x}")).collect()
    }

    fn plain_body(&self) -> Value {
        let env = self.env;
        json!({
            "Image": self.image_id, "Hostname": self.name, "User": user(), "WorkingDir": "/",
            // Of the image nothing is started: the first process waits, and takes in what others leave.
            "Entrypoint": [helper()], "Cmd": ["rest"], "Env": [format!("HOME={}", home())],
            "Healthcheck": { "Test": ["NONE"] }, "StopSignal": "SIGTERM", "OpenStdin": false, "Tty": false,
            "Labels": { LABEL: self.name },
            "HostConfig": {
                "NetworkMode": network(self.name, env.egress), "Mounts": self.mounts(true),
                "Memory": env.memory.bytes(), "MemorySwap": env.memory.bytes(),
                "NanoCpus": env.cpus.billionths(), "PidsLimit": PIDS_MAX,
                "ReadonlyRootfs": true, "Tmpfs": { "/tmp": TMP }, "Privileged": false, "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges:true"], "IpcMode": "private", "PublishAllPorts": false,
                "RestartPolicy": { "Name": "no" }, "LogConfig": { "Type": "none" },
            },
        })
    }

    fn mounts(&self, is_helper_kept: bool) -> Value {
        let volume = |what: &str, target: &str, is_kept: bool| {
            json!({
                "Type": "volume", "Source": format!("tinyclaw-{}-{what}", self.name), "Target": target,
                "ReadOnly": is_kept, "VolumeOptions": { "Labels": { LABEL: self.name } },
            })
        };
        let work = self.env.cwd.path().display().to_string();
        json!([
            volume("helper", HELPER_DIR, is_helper_kept),
            volume("home", HOME_DIR, false),
            volume("work", &work, false),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(said: &str, image_id: &str) -> Value {
        let env: ContainerEnv = serde_json::from_str(said).unwrap();
        let helper = HelperId::of(b"helper");
        let name = "dev".parse().unwrap();
        Recipe { name: &name, env: &env, image_id, helper: &helper }.body()
    }

    #[test]
    fn a_container_has_no_right_that_it_does_not_need() {
        let body = body(r#"{"image":"claude-agent","memory":"512m","cpus":0.5}"#, "sha256:1");
        let host = &body["HostConfig"];
        assert_eq!((&body["User"], &body["Image"]), (&json!("10001:10001"), &json!("sha256:1")));
        assert_eq!(host["CapDrop"], json!(["ALL"]));
        assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]));
        assert_eq!((&host["ReadonlyRootfs"], &host["Privileged"]), (&json!(true), &json!(false)));
        assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(512 << 20), &json!(512 << 20)));
        assert_eq!(host["NanoCpus"], 500_000_000);
        assert_eq!(host["NetworkMode"], "tinyclaw-dev-in");
        assert_eq!(network_body(&"dev".parse().unwrap(), false)["Internal"], true);
        let mounts = host["Mounts"].as_array().unwrap();
        assert!(
            mounts.iter().all(|it| it["Type"] == "volume"),
            "no folder of the machine: {mounts:?}"
        );
        assert_eq!(mounts[0]["ReadOnly"], true, "the helper is nobody's to change there");
        for none in ["Binds", "Devices", "PidMode", "CapAdd", "VolumesFrom", "PortBindings"] {
            assert!(host.get(none).is_none(), "{none}");
        }
    }

    #[test]
    fn what_a_container_is_made_of_tells_when_it_is_made_anew() {
        let made_of = |said, image| body(said, image)["Labels"][LABEL_MADE_OF].clone();
        let first = made_of(r#"{"image":"a"}"#, "sha256:1");
        assert_eq!(first, made_of(r#"{"image":"a","permission":"plan"}"#, "sha256:1"));
        assert_ne!(first, made_of(r#"{"image":"a"}"#, "sha256:2"));
        assert_ne!(first, made_of(r#"{"image":"a","memory":"1g"}"#, "sha256:1"));
        assert_ne!(first, made_of(r#"{"image":"a","egress":true}"#, "sha256:1"));
    }
}
