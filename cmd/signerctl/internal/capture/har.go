package capture

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// harFile is what is read of a HAR file (HTTP Archive 1.2); a browser writes much more.
type harFile struct {
	Log *struct {
		Entries []harEntry `json:"entries"`
	} `json:"log"`
}

type harEntry struct {
	Started string `json:"startedDateTime"`
	Request struct {
		Method  string `json:"method"`
		URL     string `json:"url"`
		Headers []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"headers"`
		PostData *struct {
			Text     *string           `json:"text"`
			Encoding string            `json:"encoding"`
			Params   []json.RawMessage `json:"params"`
		} `json:"postData"`
	} `json:"request"`
	Response struct {
		Status int `json:"status"`
	} `json:"response"`
}

// signed says whether an entry has a signature that is known here.
func (e harEntry) signed() bool {
	for _, h := range e.Request.Headers {
		if strings.EqualFold(h.Name, "Api-Signature") || strings.EqualFold(h.Name, "X-Noba-Signature") {
			return true
		}
	}
	return false
}

func (e harEntry) refused() bool { return e.Response.Status == 401 || e.Response.Status == 403 }

func (c *Captured) readHAR(content []byte, entry int) error {
	var file harFile
	if err := json.Unmarshal(bytes.TrimPrefix(content, []byte("\ufeff")), &file); err != nil {
		// encoding/json's own errors may repeat what they stumble over.
		return errors.New("it is not a HAR file: it is no JSON, or not of that form")
	}
	if file.Log == nil || len(file.Log.Entries) == 0 {
		return errors.New("it is not a HAR file with entries (log.entries)")
	}
	e, err := choose(file.Log.Entries, entry)
	if err != nil {
		return err
	}
	if c.Method = e.Request.Method; !isToken(c.Method) {
		return errors.New("its method is not one")
	}
	if err := c.setURL(e.Request.URL); err != nil {
		return err
	}
	for _, h := range e.Request.Headers {
		if strings.HasPrefix(h.Name, ":") {
			continue // HTTP/2
		}
		if err := c.add(h.Name, h.Value); err != nil {
			return err
		}
	}
	if when, err := time.Parse(time.RFC3339Nano, e.Started); err == nil {
		c.Sent = when
	}
	return c.harBody(e)
}

func (c *Captured) harBody(e harEntry) error {
	post := e.Request.PostData
	switch {
	case post == nil || post.Text == nil && len(post.Params) == 0:
		return nil
	case post.Text == nil || *post.Text == "" && len(post.Params) > 0:
		return errors.New("its body is there as a form's parameters alone, not as it was sent")
	case strings.EqualFold(post.Encoding, "base64"):
		body, err := base64.StdEncoding.DecodeString(*post.Text)
		if err != nil {
			return errors.New("its body is said to be base64, and is not")
		}
		c.Body = body
	case post.Encoding != "":
		return errors.New("its body has an encoding that is not base64")
	default:
		c.Body = []byte(*post.Text)
	}
	return nil
}

// choose finds the entry that is meant.
func choose(entries []harEntry, number int) (harEntry, error) {
	if number != 0 {
		if number < 0 || number > len(entries) {
			return harEntry{}, fmt.Errorf("it has no entry %d: there are %d, from 1", number, len(entries))
		}
		return entries[number-1], nil
	}
	var signed, refused []int
	for i, e := range entries {
		if e.signed() {
			if signed = append(signed, i); e.refused() {
				refused = append(refused, i)
			}
		}
	}
	switch {
	case len(signed) == 1:
		return entries[signed[0]], nil
	case len(refused) == 1:
		return entries[refused[0]], nil
	case len(signed) == 0 && len(entries) == 1:
		return entries[0], nil
	case len(signed) == 0:
		return harEntry{}, fmt.Errorf("none of its %d requests is signed; --entry N chooses one", len(entries))
	}
	return harEntry{}, fmt.Errorf("it has %d signed requests; --entry N chooses one, such as %d", len(signed), signed[0]+1)
}
