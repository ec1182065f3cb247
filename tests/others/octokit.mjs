// What octokit does with issues and pull requests, at the address of GITHUB_API_URL.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(new URL('../../.tools/node/package.json', import.meta.url));
const { Octokit } = await import(pathToFileURL(require.resolve('@octokit/rest')).href);

const octokit = new Octokit({ auth: 'a-dummy', baseUrl: process.env.GITHUB_API_URL });
const repository = { owner: 'acme', repo: 'api' };
const { data: repo } = await octokit.rest.repos.get(repository);
const { data: issues } = await octokit.rest.issues.listForRepo({ ...repository, state: 'open', per_page: 50 });
const { data: issue } = await octokit.rest.issues.get({ ...repository, issue_number: 7 });
const { data: pulls } = await octokit.rest.pulls.list({ ...repository, base: 'main' });
const { data: pull } = await octokit.rest.pulls.create({ ...repository, title: 'a change', head: 'agent/x', base: 'main', draft: true });
const asked = await octokit.graphql(
  'query($owner: String!, $name: String!) { repository(owner: $owner, name: $name) { pullRequests(first: 1) { nodes { number } } } }',
  { owner: 'acme', name: 'api' });
const found = [repo.full_name, issues[0].number, issue.number, pulls[0].number, pull.number, asked.repository.pullRequests.nodes[0].number];
console.log(found.join(' '));
