package nbd

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Numbers of the protocol, which is big-endian.
const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454f5054 // "IHAVEOPT"
	magicReply   = 0x0003e889045565a9
	magicRequest = 0x25609513
	magicSimple  = 0x67446698

	flagFixedNewstyle, flagNoZeroes = 1, 2
	flagHasFlags, flagSendFlush     = 1, 4

	optExportName, optAbort, optGo = 1, 2, 7
	replyAck, replyInfo            = 1, 3
	replyUnsupported               = 1<<31 | 1

	requestRead, requestWrite, requestDisconnect, requestFlush = 0, 1, 2, 3

	errIO, errInvalid = 5, 22
)

// maxRequest bounds what one request may be.
const maxRequest = 64 << 20

// Serve serves connections until the listener is closed.
func (d *Disk) Serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			// A client that is killed breaks off; there is nobody to tell.
			_ = d.serve(conn)
		}()
	}
}

func (d *Disk) serve(conn net.Conn) error {
	c := &client{d, bufio.NewReaderSize(conn, 1<<20), bufio.NewWriter(conn)}
	if ok, err := c.negotiate(); err != nil || !ok {
		return err
	}
	for {
		if more, err := c.request(); err != nil || !more {
			return err
		}
	}
}

type client struct {
	disk *Disk
	r    *bufio.Reader
	w    *bufio.Writer
}

// send writes numbers, and bytes as they are.
func (c *client) send(parts ...any) error {
	for _, p := range parts {
		if err := binary.Write(c.w, binary.BigEndian, p); err != nil {
			return err
		}
	}
	return c.w.Flush()
}

func (c *client) read(parts ...any) error {
	for _, p := range parts {
		if err := binary.Read(c.r, binary.BigEndian, p); err != nil {
			return err
		}
	}
	return nil
}

// negotiate agrees on the one disk there is, and says whether requests follow.
func (c *client) negotiate() (bool, error) {
	if err := c.send(uint64(magicServer), uint64(magicOption), uint16(flagFixedNewstyle|flagNoZeroes)); err != nil {
		return false, err
	}
	var flags uint32
	if err := c.read(&flags); err != nil {
		return false, err
	}
	size, disk := uint64(len(c.disk.current)), uint16(flagHasFlags|flagSendFlush)
	for {
		var magic uint64
		var option, length uint32
		if err := c.read(&magic, &option, &length); err != nil {
			return false, err
		}
		if magic != magicOption || length > maxRequest {
			return false, fmt.Errorf("option %d of %d bytes with magic %x", option, length, magic)
		}
		if _, err := io.CopyN(io.Discard, c.r, int64(length)); err != nil {
			return false, err
		}
		reply := func(kind uint32) error { return c.send(uint64(magicReply), option, kind, uint32(0)) }
		switch option {
		case optExportName:
			zeroes := make([]byte, 124)
			if flags&flagNoZeroes != 0 {
				zeroes = nil
			}
			return true, c.send(size, disk, zeroes)
		case optAbort:
			return false, reply(replyAck)
		case optGo:
			if err := c.send(uint64(magicReply), option, uint32(replyInfo), uint32(12), uint16(0), size, disk); err != nil {
				return false, err
			}
			return true, reply(replyAck)
		default:
			if err := reply(replyUnsupported); err != nil {
				return false, err
			}
		}
	}
}

// request answers one, and says whether more follow.
func (c *client) request() (bool, error) {
	var magic, length uint32
	var flags, kind uint16
	var cookie, at uint64
	if err := c.read(&magic, &flags, &kind, &cookie, &at, &length); err != nil {
		return false, err
	}
	if magic != magicRequest || length > maxRequest {
		return false, fmt.Errorf("request %d of %d bytes with magic %x", kind, length, magic)
	}
	var data []byte
	var err error
	code := uint32(errIO)
	switch kind {
	case requestRead:
		data = make([]byte, length)
		err = c.disk.readAt(data, int64(at))
	case requestWrite:
		written := make([]byte, length)
		if _, err := io.ReadFull(c.r, written); err != nil {
			return false, err
		}
		err = c.disk.writeAt(written, int64(at))
	case requestFlush:
		err = c.disk.flush()
	case requestDisconnect:
		return false, nil
	default:
		err, code = fmt.Errorf("request %d", kind), errInvalid
	}
	if err != nil {
		return true, c.send(uint32(magicSimple), code, cookie)
	}
	return true, c.send(uint32(magicSimple), uint32(0), cookie, data)
}
