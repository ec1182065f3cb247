"""What PyGithub does with issues and pull requests, at the address of GITHUB_API_URL."""

import os

from github import Auth, Github

client = Github(auth=Auth.Token("a-dummy"), base_url=os.environ["GITHUB_API_URL"])
repo = client.get_repo("acme/api")
issues = repo.get_issues(state="open")[0]
issue = repo.get_issue(7)
pulls = repo.get_pulls(state="open", sort="created", base="main")[0]
pull = repo.create_pull(base="main", head="agent/x", title="a change", body="why", draft=True)
print(repo.full_name, issues.number, issue.number, pulls.number, pull.number)
