// All images: docker buildx bake -f docker/docker-bake.hcl            (or one: ... bake -f docker/docker-bake.hcl jazzy)
// For a robot of the other architecture: ... --set "*.platform=linux/arm64"

group "default" {
  targets = ["humble", "jazzy", "kilted"]
}

target "ros" {
  name       = distro
  matrix     = { distro = ["humble", "jazzy", "kilted"] }
  dockerfile = "docker/Dockerfile"
  target     = "robot"
  args       = { ROS_DISTRO = distro }
  tags       = ["vpr_ros:${distro}"]
}

target "jetpack" {
  dockerfile = "docker/Dockerfile.jetpack"
  platforms  = ["linux/arm64"]
  tags       = ["vpr_ros:jetpack"]
}
