#!/usr/bin/env python3
"""Makes a bundle for runc of our image and the DaemonSet, as kubelet and containerd make it.

    pod.py IMAGE MANIFEST SECRET ROOT FOLDER

IMAGE is an OCI layout, SECRET a folder that is in the place of the Secret, ROOT an empty folder for the root file system. In FOLDER
there are then config.json, volumes/NAME for each volume that has content, and probes/NAME with the command of each probe, an
argument on each line."""

import json
import pathlib
import re
import subprocess
import sys

# The guest has no package of it; the one of the machine is written in Python alone.
sys.path.append("/host/usr/lib/python3/dist-packages")
import yaml  # noqa: E402

image, manifest, secret, root, folder = map(pathlib.Path, sys.argv[1:])

# What containerd hides and protects in a container that is not privileged (pkg/oci/spec.go there).
MASKED = ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
          "/proc/sched_debug", "/sys/firmware", "/proc/scsi"]
PROTECTED = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
# The limits of containerd's unit, which its containers inherit; of locked memory it has systemd's default.
LIMITS = {"RLIMIT_NOFILE": 1048576, "RLIMIT_MEMLOCK": 8 << 20}


def blob(digest: str) -> pathlib.Path:
    return image / "blobs" / digest.replace(":", "/")


def unpack() -> dict:
    """Unpacks the image. Returns its configuration."""
    [entry] = json.loads((image / "index.json").read_text())["manifests"]
    content = json.loads(blob(entry["digest"]).read_text())
    for layer in content["layers"]:
        subprocess.run(["tar", "-xzf", blob(layer["digest"]), "-C", root], check=True)
    return json.loads(blob(content["config"]["digest"]).read_text())["config"]


def write_volume(name: str, files: dict[str, bytes], mode: int) -> pathlib.Path:
    """The files of a ConfigMap or Secret: links to a folder that kubelet replaces as a whole."""
    path = folder / "volumes" / name
    data = path / "..2026_11_30"
    data.mkdir(parents=True)
    path.chmod(0o777)
    (path / "..data").symlink_to(data.name)
    for file, content in files.items():
        (data / file).write_bytes(content)
        (data / file).chmod(mode)
        (path / file).symlink_to(f"..data/{file}")
    return path


def mounts(pod: dict, container: dict, maps: dict[str, dict]) -> list[dict]:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    made = []
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        options = ["rbind", "ro" if mount.get("readOnly") else "rw"]
        if "emptyDir" in volume:
            size = volume["emptyDir"]["sizeLimit"].replace("Mi", "m")
            made.append({"destination": mount["mountPath"], "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", f"size={size}"]})
            continue
        if "configMap" in volume:
            texts = maps[volume["configMap"]["name"]]["data"]
            source = write_volume(mount["name"], {name: text.encode() for name, text in texts.items()}, 0o644)
        else:
            files = {path.name: path.read_bytes() for path in secret.iterdir()}
            source = write_volume(mount["name"], files, volume["secret"]["defaultMode"])
        made.append({"destination": mount["mountPath"], "type": "bind", "source": str(source), "options": options})
    return made


def bundle() -> None:
    objects = list(yaml.safe_load_all(manifest.read_text()))
    maps = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ConfigMap"}
    [daemons] = [o for o in objects if o["kind"] == "DaemonSet"]
    pod = daemons["spec"]["template"]["spec"]
    [container] = pod["containers"]
    configuration = unpack()
    folder.mkdir()
    subprocess.run(["runc", "spec"], cwd=folder, check=True)
    spec = json.loads((folder / "config.json").read_text())
    security = container["securityContext"]
    capabilities = [f"CAP_{name}" for name in security["capabilities"]["add"]]
    spec["root"] = {"path": str(root), "readonly": security["readOnlyRootFilesystem"]}
    spec["process"] |= {
        "terminal": False,
        "args": configuration["Entrypoint"],
        "env": configuration["Env"],
        "user": {"uid": security["runAsUser"], "gid": 0},
        "noNewPrivileges": not security["allowPrivilegeEscalation"],
        "capabilities": {name: capabilities for name in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": name, "soft": limit, "hard": limit} for name, limit in LIMITS.items()],
    }
    spec["mounts"] += mounts(pod, container, maps)
    linux = spec["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "network" or not pod["hostNetwork"]]
    linux["maskedPaths"], linux["readonlyPaths"] = MASKED, PROTECTED
    memory = int(re.fullmatch(r"(\d+)Mi", container["resources"]["limits"]["memory"]).group(1)) << 20
    # kubelet has all processes of a container killed when one lacks memory.
    linux["resources"] |= {"memory": {"limit": memory}, "unified": {"memory.oom.group": "1"}}
    (folder / "config.json").write_text(json.dumps(spec, indent=1))
    probes = folder / "probes"
    probes.mkdir()
    for name in ("startup", "readiness", "liveness"):
        (probes / name).write_text("\n".join(container[f"{name}Probe"]["exec"]["command"]) + "\n")


bundle()
