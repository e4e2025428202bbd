//! Decisions, each as one line of text.

use super::*;

fn caller(client: &str) -> Caller {
    Caller { client: client.into(), capability: None, admin: false }
}

fn thread(repositories: &[&str], permissions: &str) -> Caller {
    let capability = Verified {
        thread: "42".to_owned(),
        run: None,
        repositories: repositories.iter().map(|it| it.parse().unwrap()).collect(),
        permissions: Permissions::parse(permissions).unwrap(),
    };
    Caller { client: "thread".into(), capability: Some(Arc::new(capability)), admin: false }
}

/// What would be asked for, or the code and text of the refusal.
fn decide(policy: &Policy, caller: &Caller, query: &str, owner: Option<&str>) -> String {
    let owner: Option<Owner> = owner.map(|it| it.parse().unwrap());
    let decision = Ask::parse(query)
        .and_then(|ask| policy.plan(caller, &ask))
        .and_then(|plan| plan.check_target().map(|()| plan))
        .and_then(|plan| plan.settle(1, owner.as_ref()));
    match decision {
        Ok(key) => format!(
            "{} on {}",
            key.permissions,
            key.repositories.map_or_else(
                || "all".to_owned(),
                |it| { it.iter().map(RepoName::as_str).collect::<Vec<_>>().join("+") }
            )
        ),
        Err(refusal) => format!("{} {}: {}", refusal.status, refusal.code, refusal.error),
    }
}

const POLICY: &str = r#"
    default_permissions = "contents:read,metadata:read"
    [clients.bot]
    installations = [1]
    repositories = ["acme/*", "tools"]
    permissions = { contents = "write", issues = "read" }
    grants = ["pr"]
    [clients.admin]
    repositories = ["*"]
    grants = ["numbered", "owned"]
    [clients.wide]
    repositories = ["*"]
    all_repositories = true
    permissions = { "*" = "write", workflows = "write" }
    [clients.thread]
    repositories = ["*"]
    permissions = { contents = "write", issues = "write" }
    [clients."thread:7"]
    repositories = ["*"]
    permissions = { issues = "read" }
    [grants.pr]
    permissions = { contents = "write", pull_requests = "write" }
    repositories = ["site"]
    installation = 1
    [grants.numbered]
    permissions = { administration = "write" }
    installation = 1
    [grants.owned]
    permissions = { administration = "write" }
    owner = "acme"
"#;

#[test]
fn without_a_file_the_usual_four_on_named_repositories() {
    let policy = Policy::built_in();
    let decide = |query: &str| decide(&policy, &caller(ANYBODY), query, None);
    assert_eq!(decide("installation_id=1&repositories=a"), format!("{USUAL} on a"));
    assert_eq!(
        decide("installation_id=1&repositories=a&permissions=contents:read"),
        "contents:read on a"
    );
    assert_eq!(decide("installation_id=1"), "400 repositories_required: repositories is required");
    assert_eq!(decide("repositories=a"), "400 installation_required: installation_id is required");
    for name in
        ["administration", "members", "organization_hooks", "secrets", "workflows", "actions"]
    {
        let query = format!("installation_id=1&repositories=a&permissions={name}:write");
        let answer = decide(&query);
        assert_eq!(
            answer,
            format!("403 policy_denied: the policy's built-in does not allow {name}:write")
        );
    }
}

#[test]
fn a_client_has_its_own_rule_and_no_other() {
    let policy = Policy::parse(POLICY).unwrap();
    let decide = |client: &str, query: &str, owner| {
        decide(&policy, &caller(client), &format!("installation_id=1&{query}"), owner)
    };
    assert_eq!(
        decide("bot", "repositories=site", Some("acme")),
        "contents:read,metadata:read on site"
    );
    assert_eq!(
        decide("bot", "repositories=tools", Some("other")),
        "contents:read,metadata:read on tools"
    );
    assert!(decide("bot", "repositories=site", Some("other")).starts_with("403 policy_denied"));
    assert!(decide("bot", "repositories=site", None).starts_with("403 policy_denied"));
    assert!(
        decide("bot", "repositories=site&permissions=issues:write", Some("acme"))
            .starts_with("403")
    );
    assert!(decide("nobody", "repositories=site", Some("acme")).starts_with("403"));
}

#[test]
fn a_wildcard_does_not_include_what_is_dangerous() {
    let policy = Policy::parse(POLICY).unwrap();
    let decide = |permissions: &str| {
        let query = format!("installation_id=9&permissions={permissions}");
        decide(&policy, &caller("wide"), &query, None)
    };
    assert_eq!(decide("actions:write,workflows:write"), "actions:write,workflows:write on all");
    for name in ["administration", "members", "secrets", "organization_hooks", "dependabot_secrets"]
    {
        assert!(decide(&format!("{name}:write")).starts_with("403"), "{name}");
    }
}

#[test]
fn a_grant_stands_for_its_permissions_and_repositories() {
    let policy = Policy::parse(POLICY).unwrap();
    let decide = |client: &str, query: &str| decide(&policy, &caller(client), query, Some("acme"));
    assert_eq!(decide("bot", "grant=pr"), "contents:write,pull_requests:write on site");
    assert!(decide("bot", "grant=pr&repositories=docs").starts_with("403"));
    assert!(decide("wide", "grant=pr").starts_with("403"), "the grant is the bot's");
    assert!(decide("bot", "grant=other").starts_with("403"));
}

#[test]
fn a_grant_is_for_its_installation_whatever_is_asked() {
    let policy = Policy::parse(POLICY).unwrap();
    let decide = |query: &str, owner| decide(&policy, &caller("admin"), query, owner);
    let yes = "administration:write on site";
    let numbered = "grant=numbered&repositories=site";
    assert_eq!(decide(numbered, None), yes);
    assert_eq!(decide(&format!("{numbered}&installation_id=1"), None), yes);
    assert_eq!(decide(&format!("{numbered}&owner=acme"), None), yes, "looked up, it is 1");
    let other = decide(&format!("{numbered}&installation_id=777"), None);
    assert_eq!(other, "403 policy_denied: the grant is not for installation 777");

    let owned = "grant=owned&repositories=site";
    assert_eq!(decide(owned, Some("acme")), yes);
    assert_eq!(decide(&format!("{owned}&installation_id=1"), Some("acme")), yes);
    for target in ["owner=bob&repositories=site", "repo=bob/site"] {
        let answer = decide(&format!("grant=owned&{target}"), Some("bob"));
        assert_eq!(answer, "403 policy_denied: the grant is not for bob");
    }
    let answer = decide(&format!("{owned}&installation_id=1"), Some("bob"));
    assert_eq!(answer, "403 policy_denied: the grant is not for bob");
    assert!(decide(&format!("{owned}&installation_id=1"), None).starts_with("403"));
    // The number alone does not say whose it is: it must be looked up.
    let ask = Ask::parse(&format!("{owned}&installation_id=1")).unwrap();
    assert!(policy.plan(&caller("admin"), &ask).unwrap().needs_owner());
}

#[test]
fn a_capability_only_narrows() {
    let policy = Policy::parse(POLICY).unwrap();
    let ada = thread(&["acme/site"], "contents:write");
    let decide =
        |query: &str, owner| decide(&policy, &ada, &format!("installation_id=1&{query}"), owner);
    assert_eq!(
        decide("repositories=site&permissions=contents:write", Some("acme")),
        "contents:write on site"
    );
    assert_eq!(decide("repositories=site", Some("acme")), "contents:read,metadata:read on site");
    for (query, owner) in [
        ("repositories=docs&permissions=contents:read", Some("acme")),
        ("repositories=site&permissions=contents:read", Some("other")),
        ("repositories=site&permissions=contents:read", None),
        ("repositories=site&permissions=issues:read", Some("acme")),
        ("repositories=docs,site", Some("acme")),
    ] {
        assert!(decide(query, owner).starts_with("403 capability_denied"), "{query} {owner:?}");
    }
    assert!(decide("permissions=contents:read", Some("acme")).starts_with("400"));
    let wide = thread(&["*"], "administration:write");
    let query = "installation_id=1&repositories=a&permissions=administration:write";
    assert!(
        super::tests::decide(&policy, &wide, query, Some("acme")).starts_with("403 policy_denied")
    );
}

#[test]
fn a_thread_may_have_a_rule_of_its_own() {
    let policy = Policy::parse(POLICY).unwrap();
    let mut seven = thread(&["*"], "contents:write,issues:write");
    if let Some(it) = &mut seven.capability {
        Arc::make_mut(it).thread = "7".to_owned();
    }
    let query = "installation_id=1&repositories=a&permissions=contents:read";
    assert!(decide(&policy, &seven, query, None).starts_with("403 policy_denied"));
}

#[test]
fn a_policy_with_a_mistake_is_not_taken() {
    for (text, part) in [
        ("[clients.bot]\npermissions = {contents='read'}", "repositories is missing"),
        ("[clients.bot]\nrepositories=['*']", "it could have nothing"),
        ("[clients.bot]\nrepositories=['*']\npermissions={content='read'}", "\"content\" is not"),
        ("[clients.bot]\nrepositories=['*']\npermissions={contents='admin'}", "does not exist"),
        ("[clients.bot]\nrepositories=['*']\ngrants=['x']", "no [grants.x]"),
        (
            "[clients.bot]\nrepositories=['a']\nall_repositories=true\npermissions={contents='read'}",
            "needs",
        ),
        ("[client.bot]", "unknown field"),
        ("default_permissions = ''", "empty"),
        ("[grants.x]\npermissions={contents='read'}\nrepositories=[]", "empty"),
    ] {
        let reason = Policy::parse(text).unwrap_err();
        assert!(reason.contains(part), "{text}: {reason}");
    }
}
