// docker buildx bake -f docker/docker-bake.hcl TARGET, in the repository's root, with versions.env in the environment:
//   set -a; . docker/versions.env; set +a; docker buildx bake -f docker/docker-bake.hcl vllm-rocm
// The defaults are those of versions.env; tests/docker holds them to it.

variable "GLM_ROCM_VERSION" { default = "0.1.0" }
variable "VLLM_ROCM_IMAGE" { default = "vllm/vllm-openai-rocm:v0.32.0" }
variable "VLLM_CUDA_IMAGE" { default = "vllm/vllm-openai:v0.32.0" }
variable "SGLANG_ROCM_IMAGE" { default = "lmsysorg/sglang:v0.5.23-rocm720-mi30x" }
variable "SGLANG_ROCM_MI35X_IMAGE" { default = "lmsysorg/sglang:v0.5.23-rocm720-mi35x" }
variable "SGLANG_CUDA_IMAGE" { default = "lmsysorg/sglang:v0.5.23" }
variable "CPU_IMAGE" { default = "python:3.11-slim-bookworm" }
variable "REGISTRY" { default = "" }
variable "REVISION" { default = "unknown" }

group "default" {
  targets = ["vllm-cpu", "sglang-cpu"]
}

group "rocm" {
  targets = ["vllm-rocm", "sglang-rocm", "sglang-rocm-mi35x"]
}

group "cuda" {
  targets = ["vllm-cuda", "sglang-cuda"]
}

target "common" {
  context = "."
  args = {
    CPU_IMAGE        = CPU_IMAGE
    GLM_ROCM_VERSION = GLM_ROCM_VERSION
    REVISION         = REVISION
  }
  attest = ["type=sbom", "type=provenance,mode=max"]
}

target "vllm-cpu" {
  inherits   = ["common"]
  dockerfile = "docker/Dockerfile.vllm"
  args       = { VENDOR = "cpu" }
  tags       = ["${REGISTRY}glm-rocm:${GLM_ROCM_VERSION}-vllm-cpu"]
}

target "vllm-rocm" {
  inherits   = ["common"]
  dockerfile = "docker/Dockerfile.vllm"
  args       = { VENDOR = "rocm", VLLM_ROCM_IMAGE = VLLM_ROCM_IMAGE, ROCM_ARCHS = "gfx942,gfx950" }
  tags       = ["${REGISTRY}glm-rocm:${GLM_ROCM_VERSION}-vllm-rocm"]
}

target "vllm-cuda" {
  inherits   = ["common"]
  dockerfile = "docker/Dockerfile.vllm"
  args       = { VENDOR = "cuda", VLLM_CUDA_IMAGE = VLLM_CUDA_IMAGE }
  tags       = ["${REGISTRY}glm-rocm:${GLM_ROCM_VERSION}-vllm-cuda"]
}

target "sglang-cpu" {
  inherits   = ["common"]
  dockerfile = "docker/Dockerfile.sglang"
  args       = { VENDOR = "cpu" }
  tags       = ["${REGISTRY}glm-rocm:${GLM_ROCM_VERSION}-sglang-cpu"]
}

target "sglang-rocm" {
  inherits   = ["common"]
  dockerfile = "docker/Dockerfile.sglang"
  args       = { VENDOR = "rocm", SGLANG_ROCM_IMAGE = SGLANG_ROCM_IMAGE, ROCM_ARCHS = "gfx942" }
  tags       = ["${REGISTRY}glm-rocm:${GLM_ROCM_VERSION}-sglang-rocm-mi30x"]
}

target "sglang-rocm-mi35x" {
  inherits   = ["common"]
  dockerfile = "docker/Dockerfile.sglang"
  args       = { VENDOR = "rocm", SGLANG_ROCM_IMAGE = SGLANG_ROCM_MI35X_IMAGE, ROCM_ARCHS = "gfx950" }
  tags       = ["${REGISTRY}glm-rocm:${GLM_ROCM_VERSION}-sglang-rocm-mi35x"]
}

target "sglang-cuda" {
  inherits   = ["common"]
  dockerfile = "docker/Dockerfile.sglang"
  args       = { VENDOR = "cuda", SGLANG_CUDA_IMAGE = SGLANG_CUDA_IMAGE }
  tags       = ["${REGISTRY}glm-rocm:${GLM_ROCM_VERSION}-sglang-cuda"]
}
