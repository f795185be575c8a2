// A stand-in for crictl, which Debian lacks: the verbs that kubeadm and people at a broken node use,
// spoken over CRI as the real one does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
)

const usage = `usage: crictl [-r ENDPOINT] [-i ENDPOINT] VERB ...
  info | version              state and version of the runtime
  pods [-q]                   pod sandboxes
  ps [-a] [-q]                containers, running ones or all
  images [-q]                 images
  pull IMAGE | inspecti IMAGE | rmi IMAGE
  inspect CONTAINER | logs CONTAINER | stop CONTAINER | rm CONTAINER
  stopp POD | rmp POD
(the lab's stand-in for cri-tools)`

type client struct {
	cri.RuntimeServiceClient
	images cri.ImageServiceClient
	ctx    context.Context
}

func main() {
	arguments := os.Args[1:]
	endpoint := configured("/etc/crictl.yaml", "unix:///run/containerd/containerd.sock")
	for len(arguments) > 0 && strings.HasPrefix(arguments[0], "-") {
		switch name, value, joined := strings.Cut(arguments[0], "="); {
		case joined:
			endpoint, arguments = value, arguments[1:]
		case len(arguments) > 1 && isEndpoint(name):
			endpoint, arguments = arguments[1], arguments[2:]
		default:
			stop(fmt.Errorf("unknown flag %s\n%s", name, usage))
		}
	}
	if len(arguments) == 0 {
		stop(fmt.Errorf("no verb\n%s", usage))
	}
	stop(connect(endpoint).run(arguments[0], arguments[1:]))
}

func isEndpoint(flag string) bool {
	return flag == "-r" || flag == "-i" || flag == "--runtime-endpoint" || flag == "--image-endpoint"
}

// The endpoint that the configuration file names, if there is one.
func configured(path, otherwise string) string {
	file, err := os.Open(path)
	if err != nil {
		return otherwise
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), ":"); key == "runtime-endpoint" {
			return strings.Trim(value, ` "'`)
		}
	}
	return otherwise
}

func connect(endpoint string) client {
	if !strings.Contains(endpoint, "://") {
		endpoint = "unix://" + endpoint
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	connection, err := grpc.DialContext(ctx, endpoint, grpc.WithInsecure(), grpc.WithBlock())
	if err != nil {
		stop(fmt.Errorf("failed to connect to %s: %w", endpoint, err))
	}
	return client{cri.NewRuntimeServiceClient(connection), cri.NewImageServiceClient(connection), context.Background()}
}

func (c client) run(verb string, arguments []string) error {
	quiet, all, names := false, false, []string{}
	for _, argument := range arguments {
		switch argument {
		case "-q", "--quiet":
			quiet = true
		case "-a", "--all":
			all = true
		default:
			names = append(names, argument)
		}
	}
	switch verb {
	case "info":
		return show(c.Status(c.ctx, &cri.StatusRequest{Verbose: true}))
	case "version":
		return show(c.Version(c.ctx, &cri.VersionRequest{}))
	case "pods":
		return c.pods(quiet)
	case "ps":
		return c.containers(all, quiet)
	case "images":
		return c.listImages(quiet)
	}
	if len(names) == 0 {
		return fmt.Errorf("%s needs a name\n%s", verb, usage)
	}
	for _, name := range names {
		if err := c.one(verb, name); err != nil {
			return fmt.Errorf("%s %s: %w", verb, name, err)
		}
	}
	return nil
}

func (c client) one(verb, name string) error {
	image := &cri.ImageSpec{Image: name}
	var err error
	switch verb {
	case "pull":
		if _, err = c.images.PullImage(c.ctx, &cri.PullImageRequest{Image: image}); err == nil {
			fmt.Println("Image is up to date for", name)
		}
	case "inspecti":
		return c.inspectImage(image)
	case "rmi":
		_, err = c.images.RemoveImage(c.ctx, &cri.RemoveImageRequest{Image: image})
	case "inspect":
		return show(c.ContainerStatus(c.ctx, &cri.ContainerStatusRequest{ContainerId: name, Verbose: true}))
	case "logs":
		return c.logs(name)
	case "stop":
		_, err = c.StopContainer(c.ctx, &cri.StopContainerRequest{ContainerId: name, Timeout: 10})
	case "rm":
		_, err = c.RemoveContainer(c.ctx, &cri.RemoveContainerRequest{ContainerId: name})
	case "stopp":
		_, err = c.StopPodSandbox(c.ctx, &cri.StopPodSandboxRequest{PodSandboxId: name})
	case "rmp":
		_, err = c.RemovePodSandbox(c.ctx, &cri.RemovePodSandboxRequest{PodSandboxId: name})
	default:
		return fmt.Errorf("unknown verb\n%s", usage)
	}
	return err
}

func (c client) inspectImage(image *cri.ImageSpec) error {
	status, err := c.images.ImageStatus(c.ctx, &cri.ImageStatusRequest{Image: image})
	if err == nil && status.Image == nil {
		return fmt.Errorf("no such image")
	}
	return show(status, err)
}

func (c client) pods(quiet bool) error {
	list, err := c.ListPodSandbox(c.ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	for _, pod := range list.Items {
		row(quiet, pod.Id, strings.TrimPrefix(pod.State.String(), "SANDBOX_"), pod.Metadata.Namespace+"/"+pod.Metadata.Name)
	}
	return nil
}

func (c client) containers(all, quiet bool) error {
	list, err := c.ListContainers(c.ctx, &cri.ListContainersRequest{})
	if err != nil {
		return err
	}
	for _, container := range list.Containers {
		if all || container.State == cri.ContainerState_CONTAINER_RUNNING {
			state := strings.TrimPrefix(container.State.String(), "CONTAINER_")
			row(quiet, container.Id, state, fmt.Sprintf("%s attempt %d, pod %s", container.Metadata.Name, container.Metadata.Attempt, container.PodSandboxId))
		}
	}
	return nil
}

func (c client) listImages(quiet bool) error {
	list, err := c.images.ListImages(c.ctx, &cri.ListImagesRequest{})
	if err != nil {
		return err
	}
	for _, image := range list.Images {
		row(quiet, image.Id, fmt.Sprint(image.Size_), strings.Join(image.RepoTags, " "))
	}
	return nil
}

func (c client) logs(name string) error {
	status, err := c.ContainerStatus(c.ctx, &cri.ContainerStatusRequest{ContainerId: name})
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Clean(status.Status.LogPath))
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	return err
}

func row(quiet bool, id, state, name string) {
	if quiet {
		fmt.Println(id)
		return
	}
	fmt.Printf("%-64s  %-10s  %s\n", id, state, name)
}

func show(message interface{}, err error) error {
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(message, "", "  ")
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}

func stop(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
