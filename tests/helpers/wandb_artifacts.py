"""What the stand-in for W&B's server answers about artifacts."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

ENTITY, PROJECT = "someone", "resnet-losses"
LAST_PAGE = {"endCursor": None, "hasNextPage": False}


def project(name: str = PROJECT) -> dict[str, Any]:
    return {"id": "1", "internalId": "1", "name": name, "entity": {"id": "1", "name": ENTITY}}


class Artifacts:
    """Artifacts: made, filled and committed by a run; listed and downloaded by the public API.

    Attributes:
        artifacts: what was asked for when each was made, by its id.
        files: what was uploaded, by the path it was uploaded to.
    """

    def __init__(self) -> None:
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}

    def artifact_file(self, path: str) -> bytes | None:
        """The file that a download of storage layout V2 names by the MD5 of its content."""
        *_, owner, digest, name = path.split("/")
        manifest = json.loads(self.files[f"/manifests/{owner}"])
        entry = manifest["contents"][name]
        assert base64.b64decode(entry["digest"]).hex() == digest
        return self.files.get(f"/artifacts/{owner}/{name}")

    def _ArtifactType(self, variables):
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, variables):
        asked = variables["input"]
        identity = f"artifact{len(self.artifacts)}"
        self.artifacts[identity] = asked | {"state": "PENDING"}
        made = {"id": identity, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": made}}

    def _CreateArtifactManifest(self, variables):
        identity = variables["artifactID"]
        where = {"uploadUrl": f"{self.url}/manifests/{identity}", "uploadHeaders": []}
        manifest = {"id": identity, "file": {"id": identity} | where}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _UpdateArtifactManifest(self, variables):
        made = self._CreateArtifactManifest({"artifactID": variables["artifactManifestID"]})
        return {"updateArtifactManifest": made["createArtifactManifest"]}

    def _CreateArtifactFiles(self, variables):
        edges = []
        for file in variables["input"]["artifactFiles"]:
            path = f"/artifacts/{file['artifactID']}/{file['name']}"
            node = {"storagePath": path, "uploadUrl": self.url + path, "uploadHeaders": []}
            node |= {"uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}}
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, variables):
        asked = self.artifacts[variables["artifactID"]]
        asked["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"]} | asked}}

    def _RunOutputArtifacts(self, variables):
        made = [
            self._listed(identity, asked)
            for identity, asked in self.artifacts.items()
            if asked["runName"] == variables["run"] and asked["state"] == "COMMITTED"
        ]
        edges = [{"node": node, "cursor": node["id"]} for node in made]
        artifacts = {"totalCount": len(edges), "edges": edges, "pageInfo": LAST_PAGE}
        return {"project": {"run": {"artifacts": artifacts}}}

    def _FetchArtifactManifest(self, variables):
        url = f"{self.url}/manifests/{variables['id']}"
        return {"artifact": {"currentManifest": {"file": {"directUrl": url}}}}

    def _listed(self, identity: str, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["artifactCollectionName"]
        earlier = itertools.takewhile(lambda other: other != identity, self.artifacts)
        same = [o for o in earlier if self.artifacts[o]["artifactCollectionName"] == name]
        return {
            "__typename": "Artifact",
            "id": identity,
            "artifactSequence": {
                "__typename": "ArtifactSequence",
                "name": name,
                "project": project(),
            },
            "versionIndex": len(same),
            "artifactType": {"name": asked["artifactTypeName"]},
            "description": None,
            "metadata": None,
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": asked["state"],
            "size": 1,
            "digest": asked["digest"],
            "digestAlgorithm": asked["digestAlgorithm"],
            "commitHash": None,
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": [],
        }
