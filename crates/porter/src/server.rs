//! The door: HTTP on a unix socket, for those whose user the kernel vouches for. It takes no body and no query: what may be asked
//! for is a name and a word, and both stand in the path.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tinyclaw_devbox::Helper;
use tinyclaw_disk::Lock;
use tinyclaw_domain::{ContainerStatus, EnvName};
use tinyclaw_service::Shutdown;
use tokio::net::UnixListener;

use crate::config::Config;
use crate::docker::{Docker, DockerError};
use crate::envs::{EnvsFile, NoEnv};
use crate::keeper::{Keeper, Trouble, Wanted};
use crate::streams;

/// What a link is called in `Upgrade`.
const LINK: &str = "tinyclaw-link";
/// So many seconds later it is worth asking again.
const AGAIN_S: &str = "5";

/// A porter that listens.
#[derive(Debug)]
pub struct Porter {
    listener: UnixListener,
    app: Arc<App>,
    look_every: Duration,
    // Held for its end.
    _lock: Lock,
}

#[derive(Debug)]
struct App {
    config: Config,
    keeper: Keeper,
}

/// Who is at the other end, as the kernel has it. `None`: it does not say.
#[derive(Debug, Clone, Copy)]
struct Uid(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Uid {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Uid {
        Uid(stream.io().peer_cred().ok().map(|it| it.uid()))
    }
}

/// What a peer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum May {
    /// Look, start and stop.
    Status,
    /// Everything.
    Exec,
}

impl Porter {
    /// Listens, in the place of a porter that is gone. While another one listens there, this one does not.
    pub fn listen(config: Config) -> anyhow::Result<Porter> {
        let socket = &config.socket;
        let dir = socket.parent().context("the socket has no folder")?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let Some(lock) = Lock::try_take(&socket.with_extension("lock"))? else {
            bail!("another porter listens at {}", socket.display());
        };
        match std::fs::remove_file(socket) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                return Err(err).with_context(|| format!("cannot remove {}", socket.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen at {}", socket.display()))?;
        // Everybody may knock: who it is says the kernel, and what they may says the configuration.
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))
            .with_context(|| format!("cannot open {} for others", socket.display()))?;
        let look_every = config.look_every;
        let keeper = Keeper::new(
            Docker::new(&config.docker),
            EnvsFile::new(&config.envs),
            Helper::new(&config.helper),
        );
        let app = Arc::new(App { config, keeper });
        Ok(Porter { listener, app, look_every, _lock: lock })
    }

    /// Serves until the shutdown. Links that lead through it are cut then, and what they led to goes on.
    pub async fn serve(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let app = self.app.clone();
        let routes = Router::new()
            .route("/v1/envs/{env}", get(show))
            .route("/v1/envs/{env}/start", post(start))
            .route("/v1/envs/{env}/stop", post(stop))
            .route("/v1/envs/{env}/exec", post(exec))
            .route("/v1/envs/{env}/attach", post(attach))
            .fallback(async || {
                problem(StatusCode::NOT_FOUND, "unknown", "there is no such request")
            })
            .method_not_allowed_fallback(async || {
                let says = "that is asked for otherwise";
                problem(StatusCode::METHOD_NOT_ALLOWED, "method", says)
            })
            .layer(middleware::from_fn_with_state(app.clone(), admit))
            .with_state(app.clone());
        let served =
            axum::serve(self.listener, routes.into_make_service_with_connect_info::<Uid>());
        let looked_after = async {
            loop {
                tokio::time::sleep(self.look_every).await;
                if let Err(err) = app.keeper.look_after().await {
                    tracing::warn!("what rests is not looked after: {err}");
                }
            }
        };
        tokio::select! {
            served = served.into_future() => served.context("the socket fails"),
            () = looked_after => unreachable!("it looks for ever"),
            () = shutdown.begun() => Ok(()),
        }
    }
}

/// Lets in who may ask, and nothing but a name and a word.
async fn admit(
    State(app): State<Arc<App>>,
    ConnectInfo(Uid(uid)): ConnectInfo<Uid>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_in = |all: &std::collections::BTreeSet<u32>| uid.is_some_and(|it| all.contains(&it));
    let may = if is_in(&app.config.exec_uids) {
        May::Exec
    } else if is_in(&app.config.status_uids) {
        May::Status
    } else {
        let who = uid.map_or_else(|| "whoever this is".to_owned(), |it| format!("user {it}"));
        tracing::warn!("{who} asked for {}, and may ask for nothing", request.uri().path());
        let says = format!("{who} may ask for nothing here (TINYCLAW_PORTER_EXEC_UIDS)");
        return problem(StatusCode::FORBIDDEN, "not_yours", &says);
    };
    if request.uri().query().is_some() {
        return problem(StatusCode::BAD_REQUEST, "query", "a request has no query");
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let is_empty = length.is_none_or(|it| it == "0");
    if !is_empty || request.headers().contains_key(header::TRANSFER_ENCODING) {
        return problem(StatusCode::BAD_REQUEST, "body", "a request has no body");
    }
    request.extensions_mut().insert(may);
    next.run(request).await
}

fn env_of(name: &str) -> Result<EnvName, Box<Response>> {
    name.parse().map_err(|_| {
        let says = "there is no environment of such a name";
        Box::new(problem(StatusCode::NOT_FOUND, "env_unknown", says))
    })
}

async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let env = match env_of(&name) {
        Ok(it) => it,
        Err(none) => return *none,
    };
    told(app.keeper.status(&env).await)
}

async fn start(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let env = match env_of(&name) {
        Ok(it) => it,
        Err(none) => return *none,
    };
    // Whoever asked may hang up: what was begun is done to its end.
    let started = tokio::spawn(async move { app.keeper.start(&env).await });
    started.await.map_or_else(|_| broken(), told)
}

async fn stop(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let env = match env_of(&name) {
        Ok(it) => it,
        Err(none) => return *none,
    };
    let stopped = tokio::spawn(async move { app.keeper.stop(&env).await });
    stopped.await.map_or_else(|_| broken(), told)
}

async fn exec(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    axum::Extension(may): axum::Extension<May>,
    request: Request<Body>,
) -> Response {
    link(app, &name, may, request, Wanted::Started).await
}

async fn attach(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    axum::Extension(may): axum::Extension<May>,
    request: Request<Body>,
) -> Response {
    link(app, &name, may, request, Wanted::Running).await
}

async fn link(
    app: Arc<App>,
    name: &str,
    may: May,
    mut request: Request<Body>,
    wanted: Wanted,
) -> Response {
    if may < May::Exec {
        let says = "this user may look, start and stop (TINYCLAW_PORTER_EXEC_UIDS)";
        return problem(StatusCode::FORBIDDEN, "not_yours", says);
    }
    if request.headers().get(header::UPGRADE).is_none_or(|it| it != LINK) {
        let says = "a link is asked for with Upgrade: tinyclaw-link";
        return problem(StatusCode::UPGRADE_REQUIRED, "upgrade", says);
    }
    let env = match env_of(name) {
        Ok(it) => it,
        Err(none) => return *none,
    };
    let peer = hyper::upgrade::on(&mut request);
    let at = env.clone();
    let linked = tokio::spawn(async move { app.keeper.link(&at, wanted).await });
    let (docker, in_use) = match linked.await {
        Ok(Ok(it)) => it,
        Ok(Err(why)) => return refused(&why),
        Err(_) => return broken(),
    };
    tokio::spawn(async move {
        let _in_use = in_use;
        // A peer that is gone by now leaves a hub, which ends with its input: dropping it is enough.
        let Ok(peer) = peer.await else { return };
        let complaint = streams::pass(TokioIo::new(peer), docker).await;
        if !complaint.is_empty() {
            tracing::warn!("the hub in environment {env} complained: {complaint}");
        }
    });
    let upgrade = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, LINK)];
    (StatusCode::SWITCHING_PROTOCOLS, upgrade).into_response()
}

fn told(done: Result<ContainerStatus, Trouble>) -> Response {
    match done {
        Ok(status) => axum::Json(status).into_response(),
        Err(why) => refused(&why),
    }
}

/// 404 and 409 last until a person does something, 503 passes, and after 410 there is nothing to come back to.
fn refused(why: &Trouble) -> Response {
    let (status, code) = match why {
        Trouble::NoEnv(NoEnv::Unknown(_)) => (StatusCode::NOT_FOUND, "env_unknown"),
        Trouble::NoEnv(NoEnv::NoContainer(_)) => (StatusCode::CONFLICT, "env_no_container"),
        Trouble::NoEnv(NoEnv::Unreadable { .. }) => (StatusCode::CONFLICT, "envs_unreadable"),
        Trouble::NoImage { .. } => (StatusCode::CONFLICT, "image_missing"),
        Trouble::Helper(_) | Trouble::NotStatic(_) => (StatusCode::CONFLICT, "helper"),
        Trouble::Stopped(_) => (StatusCode::GONE, "env_stopped"),
        Trouble::Taken { .. } => (StatusCode::CONFLICT, "name_taken"),
        Trouble::Docker(DockerError::Away(_)) => (StatusCode::SERVICE_UNAVAILABLE, "docker_away"),
        Trouble::Docker(_) => (StatusCode::SERVICE_UNAVAILABLE, "docker"),
    };
    tracing::warn!("{why}");
    problem(status, code, &why.to_string())
}

fn broken() -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "broken", "the porter broke off")
}

fn problem(status: StatusCode, code: &str, says: &str) -> Response {
    let told = json!({ "code": code, "detail": says, "status": status.as_u16() });
    let mut answer = (status, axum::Json(told)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(AGAIN_S));
    }
    answer
}
