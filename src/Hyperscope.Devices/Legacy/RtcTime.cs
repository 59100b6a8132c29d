namespace Hyperscope.Devices;

/// <summary>Converts between a time and the clock registers in all four formats of register B. Source: MC146818 data sheet.</summary>
internal static class RtcTime
{
    public const byte IsBinary = 0x04, Is24Hour = 0x02;

    private const int Seconds = 0, SecondsAlarm = 1, Minutes = 2, MinutesAlarm = 3, Hours = 4, HoursAlarm = 5, Weekday = 6, Day = 7,
        Month = 8, Year = 9, Century = 0x32;
    private const byte Afternoon = 0x80, AnyValue = 0xc0;
    private const int SecondsPerDay = 86_400;

    public static bool IsTimeRegister(int index) => index is Seconds or Minutes or Hours or (>= Weekday and <= Year) or Century;

    public static void Encode(DateTime time, byte format, Span<byte> registers)
    {
        registers[Seconds] = ToRegister(time.Second, format);
        registers[Minutes] = ToRegister(time.Minute, format);
        registers[Hours] = (format & Is24Hour) != 0
            ? ToRegister(time.Hour, format)
            : (byte)(ToRegister((time.Hour + 11) % 12 + 1, format) | (time.Hour >= 12 ? Afternoon : 0));
        registers[Weekday] = ToRegister((int)time.DayOfWeek + 1, format);
        registers[Day] = ToRegister(time.Day, format);
        registers[Month] = ToRegister(time.Month, format);
        registers[Year] = ToRegister(time.Year % 100, format);
        registers[Century] = ToRegister(time.Year / 100, format);
    }

    /// <summary>Reads the registers; what is out of range is taken as the nearest value that exists.</summary>
    public static DateTime Decode(ReadOnlySpan<byte> registers, byte format)
    {
        int year = (FromRegister(registers[Century], format) * 100) + Math.Min(FromRegister(registers[Year], format), 99);
        year = Math.Clamp(year, 1970, 9998);
        int month = Math.Clamp(FromRegister(registers[Month], format), 1, 12);
        int day = Math.Clamp(FromRegister(registers[Day], format), 1, DateTime.DaysInMonth(year, month));
        return new DateTime(
            year,
            month,
            day,
            Math.Min(HourOf(registers[Hours], format), 23),
            Math.Min(FromRegister(registers[Minutes], format), 59),
            Math.Min(FromRegister(registers[Seconds], format), 59),
            DateTimeKind.Utc);
    }

    /// <summary>Seconds, 1 to 86400, from a second of the day to the next that matches the alarm registers; -1 if none ever does.</summary>
    public static int SecondsUntilAlarm(ReadOnlySpan<byte> registers, byte format, int secondOfDay)
    {
        int hour = registers[HoursAlarm] >= AnyValue ? -1 : HourOf(registers[HoursAlarm], format);
        int minute = registers[MinutesAlarm] >= AnyValue ? -1 : FromRegister(registers[MinutesAlarm], format);
        int second = registers[SecondsAlarm] >= AnyValue ? -1 : FromRegister(registers[SecondsAlarm], format);
        if (hour > 23 || minute > 59 || second > 59)
            return -1;

        // Minute by minute from the next second on, then the second inside it: at most 1441 steps.
        int start = secondOfDay + 1;
        for (int minuteStart = start / 60 * 60; minuteStart <= secondOfDay + SecondsPerDay; minuteStart += 60)
        {
            int ofDay = minuteStart % SecondsPerDay;
            if ((hour >= 0 && ofDay / 3600 != hour) || (minute >= 0 && ofDay / 60 % 60 != minute))
                continue;
            int candidate = second >= 0 ? minuteStart + second : Math.Max(minuteStart, start);
            if (candidate >= start && candidate <= secondOfDay + SecondsPerDay)
                return candidate - secondOfDay;
        }

        return -1;
    }

    private static int HourOf(byte register, byte format)
    {
        if ((format & Is24Hour) != 0)
            return FromRegister(register, format);
        int hour = FromRegister((byte)(register & ~Afternoon), format) % 12;
        return (register & Afternoon) != 0 ? hour + 12 : hour;
    }

    private static byte ToRegister(int value, byte format) => (format & IsBinary) != 0 ? (byte)value : (byte)((value / 10 << 4) | (value % 10));

    private static int FromRegister(byte value, byte format) => (format & IsBinary) != 0 ? value : ((value >> 4) * 10) + (value & 15);
}
