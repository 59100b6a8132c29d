using System.Text;

namespace Hyperscope.Boot.Tests;

/// <summary>What a guest wrote to its serial port, and a way to wait for it to write something.</summary>
internal sealed class SerialLog : ISerialOutput
{
    private readonly Lock _gate = new();
    private readonly StringBuilder _text = new();
    private readonly List<(string Wanted, TaskCompletionSource Seen)> _waiters = [];
    private readonly List<(string Wanted, Action Act)> _actions = [];

    public string Text
    {
        get
        {
            lock (_gate)
                return _text.ToString();
        }
    }

    public void Write(byte value)
    {
        lock (_gate)
        {
            _text.Append((char)value);
            foreach ((string text, Action act) in _actions)
            {
                if ((char)value == text[^1] && EndsWith(text))
                    act();
            }

            for (int index = _waiters.Count - 1; index >= 0; index--)
            {
                (string wanted, TaskCompletionSource seen) = _waiters[index];
                if ((char)value != wanted[^1] || !EndsWith(wanted))
                    continue;
                _waiters.RemoveAt(index);
                seen.SetResult();
            }
        }
    }

    /// <summary>Has something done each time the guest has written a text, on the vCPU's thread: at the same instruction in each run of a guest whose
    /// clock are its instructions. Before the guest starts.</summary>
    public void On(string text, Action act) => _actions.Add((text, act));

    /// <summary>Completes once the guest has written <paramref name="wanted"/>, before or after this call.</summary>
    public Task Contains(string wanted)
    {
        lock (_gate)
        {
            if (_text.ToString().Contains(wanted, StringComparison.Ordinal))
                return Task.CompletedTask;
            var seen = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiters.Add((wanted, seen));
            return seen.Task;
        }
    }

    private bool EndsWith(string wanted)
    {
        int start = _text.Length - wanted.Length;
        if (start < 0)
            return false;
        for (int index = 0; index < wanted.Length; index++)
        {
            if (_text[start + index] != wanted[index])
                return false;
        }

        return true;
    }
}
