//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// containers measures pulling and pushing images of real packages, from and to Debian's docker-registry on
// this machine.
func (b *bench) containers() error {
	for _, program := range []string{"docker-registry", "skopeo", "umoci", "mmdebstrap"} {
		if _, err := exec.LookPath(program); err != nil {
			b.judge("containers", "pulls are measured", false, "not measured: needs %s", program)
			return nil
		}
	}
	reg, err := b.startRegistry()
	if err != nil {
		return err
	}
	defer reg.stop()
	names, title, err := b.containerImages(reg)
	if err != nil {
		return err
	}
	if err := b.pulls(reg, names, title); err != nil {
		return err
	}
	return errors.Join(b.pushes(reg, title), os.RemoveAll(b.path("pull.repo")))
}

// benchRegistry is a docker-registry whose data stay in the bench's directory.
type benchRegistry struct {
	host string
	cmd  *exec.Cmd
	// home is a home directory with a registries.conf that lets skopeo speak HTTP to it.
	home string
}

func (r *benchRegistry) stop() {
	_ = r.cmd.Process.Kill() // it has nothing to lose
	_ = r.cmd.Wait()
}

func (b *bench) startRegistry() (*benchRegistry, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &benchRegistry{host: l.Addr().String(), home: b.path("home")}
	if err := l.Close(); err != nil {
		return nil, err
	}
	config := b.path("registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", b.path("registry"), r.host)
	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", r.host)
	dir := filepath.Join(r.home, ".config/containers")
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "registries.conf"), []byte(conf), 0o600)); err != nil {
		return nil, err
	}
	r.cmd = exec.Command("docker-registry", "serve", config)
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	for range 100 {
		if conn, err := net.DialTimeout("tcp", r.host, time.Second); err == nil {
			return r, conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.stop()
	return nil, errors.New("docker-registry does not answer")
}

// containerImages makes the images "first" and "second" and gives them to the registry. The second has other
// layers, in which four files of five are those of the first.
func (b *bench) containerImages(reg *benchRegistry) (layers []string, title string, err error) {
	layers = []string{"base"}
	tars := filepath.Join(filepath.Dir(b.dir), "images")
	args := []string{tars}
	if !b.quick {
		layers = append(layers, "build", "java", "llvm", "python")
		args = append(args, "full")
	}
	if out, err := exec.Command("scripts/images.sh", args...).CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("images.sh: %w: %s", err, out)
	}
	size := int64(0)
	for _, name := range layers {
		info, err := os.Stat(filepath.Join(tars, name+".tar"))
		if err != nil {
			return nil, "", err
		}
		size += info.Size()
	}
	title = fmt.Sprintf("an image of %d layers, %s", len(layers), formatBytes(size))
	made := b.path(fmt.Sprintf("registry/made-%d", len(layers)))
	if _, err := os.Stat(made); err == nil {
		return layers, title, nil
	}
	fmt.Println("making", title, "...")
	layout := b.path("images.layout")
	if err := os.RemoveAll(layout); err != nil {
		return nil, "", err
	}
	steps := [][]string{{"umoci", "init", "--layout", layout}}
	for _, image := range []string{"first", "second"} {
		steps = append(steps, []string{"umoci", "new", "--image", layout + ":" + image})
		for _, name := range layers {
			path := filepath.Join(tars, name+".tar")
			if image == "second" {
				other := b.path(name + ".tar")
				if err := changeTar(path, other); err != nil {
					return nil, "", err
				}
				path = other
			}
			steps = append(steps, []string{"umoci", "raw", "add-layer", "--image", layout + ":" + image, path})
		}
		steps = append(steps, []string{"skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:" + layout + ":" + image, "docker://" + reg.host + "/bench:" + image + fmt.Sprint(len(layers))})
	}
	for _, argv := range steps {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return nil, "", fmt.Errorf("%v: %w: %s", argv, err, out)
		}
	}
	for _, name := range layers {
		if err := os.Remove(b.path(name + ".tar")); err != nil {
			return nil, "", err
		}
	}
	return layers, title, errors.Join(os.RemoveAll(layout), os.WriteFile(made, nil, 0o600), syncFilesystem(b.dir))
}

// changeTar writes a tar with other times in which every fifth file has another content.
func changeTar(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	buffered := bufio.NewWriterSize(out, 1<<20)
	r, w := tar.NewReader(bufio.NewReaderSize(in, 1<<20)), tar.NewWriter(buffered)
	for files := 0; ; {
		h, err := r.Next()
		if err == io.EOF {
			return errors.Join(w.Close(), buffered.Flush(), out.Close())
		}
		if err != nil {
			return err
		}
		h.ModTime = h.ModTime.Add(time.Hour)
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || h.Size == 0 {
			continue
		}
		var content io.Reader = r
		if files++; files%5 == 0 {
			var first [1]byte
			if _, err := io.ReadFull(r, first[:]); err != nil {
				return err
			}
			if _, err := w.Write([]byte{first[0] ^ 0x55}); err != nil {
				return err
			}
		}
		if _, err := io.Copy(w, content); err != nil {
			return err
		}
	}
}

// pulls measures pulling: into an empty repository, of an image that shares files, and of what is there.
func (b *bench) pulls(reg *benchRegistry, layers []string, title string) error {
	repo, layout, bundle, theirs := b.path("pull.repo"), b.path("pull.layout"), b.path("pull.bundle"), b.path("cfsctl.repo")
	first, second := fmt.Sprintf("%s/bench:first%d", reg.host, len(layers)), fmt.Sprintf("%s/bench:second%d", reg.host, len(layers))
	pull := func(image, name string) []string {
		return b.ours("composefs", "pull", "--quiet", "--plain-http", "--repo", repo, image, name)
	}
	written := newDeviceMeter(b.dir)
	contestants := []contestant{
		{name: "skopeo copy, umoci unpack", prepare: func() error { return errors.Join(b.setAside(layout, bundle), syncFilesystem(b.dir)) }, commands: []command{
			{argv: []string{"skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://" + first, "oci:" + layout + ":image"}},
			{argv: []string{"umoci", "unpack", "--image", layout + ":image", bundle}},
		}},
		{
			name: "ours", prepare: func() error { return errors.Join(b.newRepo(repo), written.start()) },
			commands: []command{{argv: pull(first, "first")}}, after: written.stop,
		},
	}
	cfsctl := filepath.Join(b.peers, "bin", "cfsctl")
	if _, err := os.Stat(cfsctl); err == nil {
		contestants = append(contestants, contestant{
			name: "cfsctl oci pull",
			prepare: func() error {
				return errors.Join(b.setAside(theirs),
					exec.Command(cfsctl, "--repo", theirs, "init", "--insecure", "--algorithm", "fsverity-sha256-12").Run(), syncFilesystem(b.dir))
			},
			commands: []command{{argv: []string{"env", "HOME=" + reg.home, cfsctl, "--repo", theirs, "oci", "pull", "docker://" + first, "first"}}},
		})
	}
	work := "pull of " + title + ", empty repository, durable"
	r, err := b.race(work, 3, contestants...)
	if err != nil {
		return err
	}
	b.judge(work, "at most 0.6 of the time of skopeo and umoci", r[1].ratio(r[0]) <= 0.6, "%.2f", r[1].ratio(r[0]))
	if len(r) > 2 {
		b.judge(work, "never slower than cfsctl", r[1].ratio(r[2]) <= 1, "%.2f of its time", r[1].ratio(r[2]))
	}
	const jobs = 4
	limit := int64(150e6 + jobs*16<<20)
	b.judge(work, "peak memory under 150 MB and 16 MiB for each of 4 layers at a time", r[1].medianRSS() < limit, "%s", formatBytes(r[1].medianRSS()))
	if err := errors.Join(b.setAside(layout, bundle, theirs), b.removeAside()); err != nil {
		return err
	}
	if err := b.pullShared(written, pull(second, "second")); err != nil {
		return err
	}
	return b.pullUnchanged(pull(first, "first"), reg, title)
}

// pullShared measures the pull of an image whose layers are new and of whose files most are not, against what the pulls
// before wrote, of which the first was not counted.
func (b *bench) pullShared(written *deviceMeter, pull []string) error {
	before := written.median()
	work := "pull of another of which 80 % of the files are here, none of the layers"
	one := result{work: work, name: "ours"}
	if err := errors.Join(syncFilesystem(b.dir), written.start()); err != nil {
		return err
	}
	fmt.Printf("%s ...", work)
	s, err := command{argv: pull}.run()
	if err = errors.Join(err, written.stop()); err != nil {
		return err
	}
	one.samples = []sample{s}
	one.floor = memoryFloor()
	fmt.Println(" ours", formatDuration(s.wall))
	b.runs = append(b.runs, one)
	now := written.last()
	ratio := float64(now) / float64(before)
	b.judge(work, "at most 0.5 of the first one's bytes written to the disk", ratio <= 0.5, "%.2f, %s against %s", ratio, formatBytes(now), formatBytes(before))
	return nil
}

// pullUnchanged measures a pull that finds everything here.
func (b *bench) pullUnchanged(pull []string, reg *benchRegistry, title string) error {
	work := "pull of " + title + " again, unchanged"
	r, err := b.race(work, 20,
		contestant{name: "one request", commands: []command{{argv: []string{"curl", "-sI", "-o", "/dev/null", "http://" + reg.host + "/v2/"}}}},
		contestant{name: "ours", commands: []command{{argv: pull}}})
	if err != nil {
		return err
	}
	above := r[1].median() - r[0].median()
	b.judge(work, "under 30 ms above one request", above < 30*time.Millisecond, "%+.1f ms", above.Seconds()*1000)
	return nil
}

// pushes measures giving the image that was pulled to a place that has nothing of it, compressed anew, against
// compressing alone.
func (b *bench) pushes(reg *benchRegistry, title string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	repo, n := b.path("pull.repo"), 0
	work := "push of " + title + ", compressed with zstd"
	push := contestant{name: "ours"}
	push.prepare = func() error {
		n++ // a repository that has nothing
		push.commands[0].argv[len(push.commands[0].argv)-1] = fmt.Sprintf("%s/push%d-%d:image", reg.host, os.Getpid(), n)
		return nil
	}
	push.commands = []command{{argv: b.ours("composefs", "push", "--quiet", "--plain-http", "--compression", "zstd", "--repo", repo, "first", "")}}
	r, err := b.race(work, 3, contestant{name: "compressing alone", commands: []command{{argv: []string{self, "-compress-alone", repo}}}}, push)
	if err != nil {
		return err
	}
	b.judge(work, "at least 0.8 of the speed of compressing alone", r[1].ratio(r[0]) <= 1/0.8, "%.2f", 1/r[1].ratio(r[0]))
	return nil
}
